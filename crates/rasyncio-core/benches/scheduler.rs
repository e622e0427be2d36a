//! What the scheduler costs per entry: the ready queue in its steady state, timers that fire,
//! timers that are cancelled as most timeouts are, and the inbox.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rasyncio_core::scheduler::{Inbox, ReadyQueue, Timers};
use rasyncio_core::wake::Waker;

fn ready_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ready");
    group.throughput(Throughput::Elements(1000));
    let mut queue = ReadyQueue::new();
    (0..1000_u64).for_each(|entry| queue.push([entry; 3]));
    group.bench_function("a thousand entries that queue themselves again", |bencher| {
        bencher.iter(|| {
            for _ in 0..queue.len() {
                if let Some(entry) = queue.pop() {
                    queue.push(black_box(entry));
                }
            }
        });
    });
    group.finish();
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    group.throughput(Throughput::Elements(1000));
    let deadlines: Vec<f64> = (0..1000).map(|number| f64::from(number * 7919 % 1000)).collect();
    group.bench_function("set and fire a thousand", |bencher| {
        bencher.iter_batched_ref(
            Timers::new,
            |timers| {
                for deadline in &deadlines {
                    timers.insert(*deadline, ());
                }
                timers.take_due(1e9, |()| false, black_box);
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("set and cancel a thousand", |bencher| {
        let mut timers = Timers::new();
        let mut removed: Vec<Rc<Cell<bool>>> = Vec::new();
        let mut now = 0.0;
        bencher.iter(|| {
            for _ in 0..1000 {
                now += 1e-6;
                let item = Rc::new(Cell::new(false));
                timers.insert(now + 30.0, Rc::clone(&item));
                item.set(true);
                timers.note_cancelled();
            }
            timers.discard_cancelled(|item| item.get(), &mut removed);
            removed.clear();
        });
    });
    group.finish();
}

fn inbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    let waker = Waker::new().expect("an eventfd");
    let inbox = Inbox::new(waker);
    let mut ready = ReadyQueue::new();
    group.bench_function("look into an empty one", |bencher| {
        bencher.iter(|| inbox.drain_into(black_box(&mut ready)));
    });
    group.bench_function("hand in to an awake loop and drain", |bencher| {
        bencher.iter(|| {
            inbox.push(1_u64);
            inbox.drain_into(&mut ready);
            ready.pop()
        });
    });
    group.finish();
}

criterion_group!(benches, ready_queue, timers, inbox);
criterion_main!(benches);
