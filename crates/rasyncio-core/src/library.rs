//! What a shared library that this process has loaded already offers: whoever calls it answers for how.

pub use crate::sys::library::Loaded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_was_not_loaded_is_not_found() {
        assert!(Loaded::find(c"/nowhere/libnothing.so").is_none());
    }

    #[test]
    fn a_symbol_is_found_in_what_is_linked() {
        let libc = Loaded::find(c"libc.so.6").expect("every program of this platform has it");
        assert!(libc.symbol(c"malloc").is_some());
        assert!(libc.symbol(c"no_such_function").is_none());
    }
}
