//! Addresses of a name, names of an address: whatever the C library's resolver says.

pub use crate::sys::resolver::{
    NUMERIC_HOST, NUMERIC_NAMES, NUMERIC_SERVICE, Names, Question, ResolveError, ResolvedAddress,
    answer_of_literal, inet6_text, names_of, resolve,
};
