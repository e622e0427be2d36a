//! What a pool promises, with threads that wait for each other and never for the clock.

use std::sync::mpsc;
use std::time::Duration;

use super::Pool;

const LONG: Duration = Duration::from_secs(20);

fn threads(pool: &Pool) -> usize {
    pool.shared.state.lock().threads
}

/// Waits for a state that another thread brings about.
fn until(mut reached: impl FnMut() -> bool) {
    while !reached() {
        std::thread::yield_now();
    }
}

#[test]
fn jobs_run_at_the_same_time_up_to_the_limit_and_in_order() {
    let pool = Pool::new("test", 2, LONG);
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    for number in 0..4 {
        let (tell, released) = (tell.clone(), released.clone());
        pool.submit(move || {
            tell.send(number).expect("a test that listens");
            released.lock().expect("no panic").recv().expect("a test that releases");
        })
        .expect("a thread");
    }
    let mut first = [told.recv_timeout(LONG).expect("a job"), told.recv_timeout(LONG).expect("a job")];
    first.sort_unstable();
    assert_eq!(first, [0, 1]);
    assert!(told.try_recv().is_err());
    assert_eq!(threads(&pool), 2);
    for expected in [2, 3] {
        release.send(()).expect("a job that waits");
        assert_eq!(told.recv_timeout(LONG), Ok(expected));
    }
    release.send(()).expect("a job that waits");
    release.send(()).expect("a job that waits");
}

#[test]
fn an_idle_thread_takes_the_next_job() {
    let pool = Pool::new("test", 8, LONG);
    let (tell, told) = mpsc::channel();
    for _ in 0..100 {
        until(|| {
            let state = pool.shared.state.lock();
            state.idle == state.threads
        });
        let tell = tell.clone();
        pool.submit(move || tell.send(()).expect("a test that listens")).expect("a thread");
        told.recv_timeout(LONG).expect("a job");
    }
    assert_eq!(threads(&pool), 1);
}

#[test]
fn idle_threads_end_after_a_while_and_new_ones_are_made() {
    let pool = Pool::new("test", 1, Duration::from_millis(1));
    for _ in 0..3 {
        let (tell, told) = mpsc::channel();
        pool.submit(move || tell.send(()).expect("a test that listens")).expect("a thread");
        told.recv_timeout(LONG).expect("a job");
        until(|| threads(&pool) == 0);
    }
}

#[test]
fn a_withdrawn_job_does_not_run() {
    let pool = Pool::new("test", 1, LONG);
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    pool.submit(move || released.recv().expect("a test that releases")).expect("a thread");
    let say = |text: &'static str| {
        let tell = tell.clone();
        pool.submit(move || tell.send(text).expect("a test that listens")).expect("a thread")
    };
    let (_, second, _) = (say("first"), say("second"), say("third"));
    pool.withdraw(second);
    release.send(()).expect("a job that waits");
    assert_eq!(told.recv_timeout(LONG), Ok("first"));
    assert_eq!(told.recv_timeout(LONG), Ok("third"));
    pool.withdraw(second);
}

#[test]
fn closing_waits_for_nobody_and_lets_every_thread_go() {
    let pool = Pool::new("test", 2, LONG);
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    pool.submit(move || {
        tell.send(()).expect("a test that listens");
        released.recv().expect("a test that releases");
    })
    .expect("a thread");
    told.recv_timeout(LONG).expect("a job");
    pool.submit(|| ()).expect("a thread");
    pool.close();
    until(|| threads(&pool) == 1);
    release.send(()).expect("a job that waits");
    until(|| threads(&pool) == 0);
}
