//! Timers against a plain list, and the asyncio rules that a list does not show.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

type Item = Rc<Cell<bool>>;

fn item() -> Item {
    Rc::new(Cell::new(false))
}

fn is_cancelled(item: &Item) -> bool {
    item.get()
}

fn cancel(timers: &mut Timers<Item>, item: &Item) {
    item.set(true);
    timers.note_cancelled();
}

fn take_due<T>(timers: &mut Timers<T>, end_time: f64, is_cancelled: impl Fn(&T) -> bool) -> Vec<T> {
    let mut taken = Vec::new();
    timers.take_due(end_time, is_cancelled, |item| taken.push(item));
    taken
}

#[test]
fn equal_deadlines_fire_in_the_order_they_were_set() {
    let mut timers = Timers::new();
    for number in 0..100 {
        timers.insert(1.0, number);
    }
    assert_eq!(take_due(&mut timers, 2.0, |_| false), (0..100).collect::<Vec<i32>>());
}

#[test]
fn a_deadline_equal_to_the_end_time_is_not_due() {
    let mut timers = Timers::new();
    timers.insert(1.0, ());
    assert!(take_due(&mut timers, 1.0, |()| false).is_empty());
    assert_eq!(take_due(&mut timers, 1.000_001, |()| false).len(), 1);
}

#[test]
fn cancelled_items_leave_from_the_head_only_while_they_are_few() {
    let mut timers = Timers::new();
    let items: Vec<Item> = (0..3).map(|_| item()).collect();
    for (deadline, item) in [1.0, 2.0, 3.0].into_iter().zip(&items) {
        timers.insert(deadline, item.clone());
    }
    cancel(&mut timers, &items[0]);
    cancel(&mut timers, &items[2]);
    let mut removed = Vec::new();
    timers.discard_cancelled(is_cancelled, &mut removed);
    assert_eq!((removed.len(), timers.len()), (1, 2));
    assert_eq!(timers.next_deadline(), Some(2.0));
}

#[test]
fn a_heap_of_mostly_cancelled_items_is_swept_whole() {
    let mut timers = Timers::new();
    let items: Vec<Item> = (0..200).map(|_| item()).collect();
    for (item, deadline) in items.iter().zip(1_u32..) {
        timers.insert(f64::from(deadline), item.clone());
    }
    for item in &items[99..] {
        cancel(&mut timers, item);
    }
    let mut removed = Vec::new();
    timers.discard_cancelled(is_cancelled, &mut removed);
    assert_eq!((removed.len(), timers.len()), (101, 99));
    removed.clear();
    timers.discard_cancelled(is_cancelled, &mut removed);
    assert!(removed.is_empty());
}

#[test]
fn nan_and_infinite_deadlines_never_fire_and_disturb_nobody() {
    let mut timers = Timers::new();
    timers.insert(f64::NAN, "nan");
    timers.insert(f64::INFINITY, "infinity");
    timers.insert(1.0, "one");
    assert_eq!(take_due(&mut timers, 1e300, |_| false), ["one"]);
    assert!(take_due(&mut timers, 1e300, |_| false).is_empty());
    assert_eq!(timers.next_deadline(), Some(f64::INFINITY));
}

#[test]
fn cancelled_items_that_come_due_no_longer_count() {
    let mut timers = Timers::new();
    let cancelled = item();
    timers.insert(1.0, cancelled.clone());
    cancel(&mut timers, &cancelled);
    assert_eq!(take_due(&mut timers, 2.0, is_cancelled).len(), 1);
    assert_eq!(timers.cancelled, 0);
}

#[test]
fn many_that_are_due_at_once_come_in_order_and_the_others_stay() {
    let mut timers = Timers::new();
    for number in 0..10_000_u32 {
        timers.insert(f64::from(number * 7919 % 100), number);
    }
    timers.insert(f64::NAN, 10_000);
    let taken = take_due(&mut timers, 60.0, |_| false);
    let mut expected: Vec<u32> = (0..10_000).filter(|number| number * 7919 % 100 < 60).collect();
    expected.sort_by_key(|number| number * 7919 % 100);
    assert_eq!(taken, expected);
    assert_eq!((timers.len(), timers.next_deadline()), (4001, Some(60.0)));
    assert_eq!(take_due(&mut timers, 60.0, |_| false), []);
    assert_eq!(take_due(&mut timers, 61.0, |_| false).len(), 100);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8),
    Cancel(prop::sample::Index),
    Discard,
    PopUntil(u8),
    TakeAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Insert),
        6 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => Just(Step::Discard),
        2 => any::<u8>().prop_map(Step::PopUntil),
        1 => Just(Step::TakeAll),
    ]
}

/// What a reader of asyncio's documentation expects: a list of (deadline, number, item).
#[derive(Default)]
struct Model {
    entries: Vec<(u8, usize, Item)>,
}

impl Model {
    fn take_due(&mut self, end_time: u8) -> Vec<usize> {
        self.entries.sort_by_key(|(deadline, number, _)| (*deadline, *number));
        let due = self.entries.partition_point(|(deadline, ..)| *deadline < end_time);
        self.entries.drain(..due).map(|(_, number, _)| number).collect()
    }

    fn first(&self) -> Option<&Item> {
        let entries = self.entries.iter();
        let first = entries.min_by_key(|(deadline, number, _)| (*deadline, *number))?;
        Some(&first.2)
    }

    fn cancelled(&self) -> usize {
        self.entries.iter().filter(|(_, _, item)| item.get()).count()
    }
}

fn numbers(items: impl IntoIterator<Item = (usize, Item)>) -> Vec<usize> {
    items.into_iter().map(|(number, _)| number).collect()
}

proptest! {
    #[test]
    fn behaves_like_a_sorted_list(steps in prop::collection::vec(step(), 0..600)) {
        let mut timers: Timers<(usize, Item)> = Timers::new();
        let mut model = Model::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(deadline) => {
                    let item = item();
                    timers.insert(f64::from(deadline), (number, item.clone()));
                    model.entries.push((deadline, number, item));
                }
                Step::Cancel(index) if !model.entries.is_empty() => {
                    let (_, _, item) = index.get(&model.entries);
                    if !item.replace(true) {
                        timers.note_cancelled();
                    }
                }
                Step::Cancel(_) => {}
                Step::Discard => {
                    let mut removed = Vec::new();
                    timers.discard_cancelled(|(_, item)| item.get(), &mut removed);
                    prop_assert!(removed.iter().all(|(_, item)| item.get()));
                    let gone = numbers(removed);
                    model.entries.retain(|(_, number, _)| !gone.contains(number));
                    prop_assert!(model.first().is_none_or(|item| !item.get()));
                }
                Step::PopUntil(end_time) => {
                    let end = f64::from(end_time);
                    let popped = numbers(take_due(&mut timers, end, |(_, item)| item.get()));
                    prop_assert_eq!(popped, model.take_due(end_time));
                }
                Step::TakeAll => {
                    let mut taken = numbers(timers.take_all());
                    taken.sort_unstable();
                    let all = model.entries.drain(..).map(|(_, number, item)| (number, item));
                    let mut expected = numbers(all);
                    expected.sort_unstable();
                    prop_assert_eq!(taken, expected);
                }
            }
            prop_assert_eq!(timers.len(), model.entries.len());
            prop_assert_eq!(timers.is_empty(), model.entries.is_empty());
            prop_assert_eq!(timers.cancelled, model.cancelled());
        }
    }
}
