//! The functions of OpenSSL that are called, found once by name.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};

use rasyncio_core::library::Loaded;

type Pointer = *mut c_void;
type Read = unsafe extern "C" fn(Pointer, *mut c_char, c_int) -> c_int;
type Write = unsafe extern "C" fn(Pointer, *const c_char, c_int) -> c_int;
type Control = unsafe extern "C" fn(Pointer, c_int, c_long, Pointer) -> c_long;
type Destroy = unsafe extern "C" fn(Pointer) -> c_int;

macro_rules! table {
    ($($field:ident = $name:literal: $kind:ty;)*) => {
        /// One field per function, with the C signature of OpenSSL 1.1.1 and later.
        #[derive(Clone, Copy)]
        pub(super) struct Table {
            $(pub(super) $field: $kind,)*
        }

        impl Table {
            /// None if any of them is missing.
            pub(super) fn of(library: Loaded) -> Option<Self> {
                Some(Self { $($field: find::<$kind>(library, $name)?,)* })
            }
        }
    };
}

table! {
    bio_get_data = c"BIO_get_data": unsafe extern "C" fn(Pointer) -> Pointer;
    bio_get_new_index = c"BIO_get_new_index": unsafe extern "C" fn() -> c_int;
    bio_clear_flags = c"BIO_clear_flags": unsafe extern "C" fn(Pointer, c_int);
    bio_meth_new = c"BIO_meth_new": unsafe extern "C" fn(c_int, *const c_char) -> Pointer;
    bio_meth_set_ctrl = c"BIO_meth_set_ctrl": unsafe extern "C" fn(Pointer, Control) -> c_int;
    bio_meth_set_destroy = c"BIO_meth_set_destroy": unsafe extern "C" fn(Pointer, Destroy) -> c_int;
    bio_meth_set_read = c"BIO_meth_set_read": unsafe extern "C" fn(Pointer, Read) -> c_int;
    bio_meth_set_write = c"BIO_meth_set_write": unsafe extern "C" fn(Pointer, Write) -> c_int;
    bio_new = c"BIO_new": unsafe extern "C" fn(*const c_void) -> Pointer;
    bio_set_data = c"BIO_set_data": unsafe extern "C" fn(Pointer, Pointer);
    bio_set_flags = c"BIO_set_flags": unsafe extern "C" fn(Pointer, c_int);
    bio_set_init = c"BIO_set_init": unsafe extern "C" fn(Pointer, c_int);
    err_clear_error = c"ERR_clear_error": unsafe extern "C" fn();
    err_peek_error = c"ERR_peek_error": unsafe extern "C" fn() -> c_ulong;
    ssl_get_error = c"SSL_get_error": unsafe extern "C" fn(Pointer, c_int) -> c_int;
    ssl_get_rbio = c"SSL_get_rbio": unsafe extern "C" fn(Pointer) -> Pointer;
    ssl_get_shutdown = c"SSL_get_shutdown": unsafe extern "C" fn(Pointer) -> c_int;
    ssl_get_ssl_ctx = c"SSL_get_SSL_CTX": unsafe extern "C" fn(Pointer) -> Pointer;
    ssl_get_ssl_method = c"SSL_get_ssl_method": unsafe extern "C" fn(Pointer) -> *const c_void;
    ssl_get_wbio = c"SSL_get_wbio": unsafe extern "C" fn(Pointer) -> Pointer;
    ssl_pending = c"SSL_pending": unsafe extern "C" fn(Pointer) -> c_int;
    ssl_read_ex = c"SSL_read_ex": unsafe extern "C" fn(Pointer, Pointer, usize, *mut usize) -> c_int;
    ssl_set_bio = c"SSL_set_bio": unsafe extern "C" fn(Pointer, Pointer, Pointer);
    ssl_write_ex = c"SSL_write_ex": unsafe extern "C" fn(Pointer, *const c_void, usize, *mut usize) -> c_int;
    tls_client_method = c"TLS_client_method": unsafe extern "C" fn() -> *const c_void;
}

/// The function `name`, which is of the type `F`, a function pointer.
fn find<F: Copy>(library: Loaded, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<Pointer>()) };
    let symbol = library.symbol(name)?.as_ptr();
    // SAFETY: `F` is a function pointer with the signature that OpenSSL documents for `name`, as the table says; the library stays loaded.
    Some(unsafe { std::mem::transmute_copy::<Pointer, F>(&symbol) })
}
