//! The contract of the reactor, met by `epoll`.

mod contract;
mod support;

use rasyncio_core::reactor::{BackendChoice, Reactor};

/// The backend under test.
fn choice() -> BackendChoice {
    BackendChoice::Epoll
}

#[test]
fn the_default_is_the_faster_by_measurement() {
    let reactor = Reactor::<()>::new(BackendChoice::Auto).expect("a reactor");
    assert_eq!(reactor.backend_name(), "epoll");
}
