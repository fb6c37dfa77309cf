//! Sorting in place, without a panic on a comparison that contradicts itself, which the standard library's sort may
//! raise, and in little code and stack.

/// Pieces up to this length are sorted by insertion.
const SHORT: usize = 16;

/// Sorts `items`, equal ones in any order. `is_less` should be a strict order; if it is none, neither is the result.
pub(super) fn sort<T: Copy>(items: &mut [T], is_less: &impl Fn(&T, &T) -> bool) {
    quick_sort(items, is_less, 2 * items.len().checked_ilog2().unwrap_or(0));
}

/// Quicksort, given up in favor of heap sort after `depth` partitions. The recursion is for the shorter piece, so it
/// is no deeper than the binary logarithm of the length.
fn quick_sort<T: Copy>(mut items: &mut [T], is_less: &impl Fn(&T, &T) -> bool, mut depth: u32) {
    while items.len() > SHORT {
        let middle = if depth > 0 { partition(items, is_less) } else { 0 };
        let (low, high) = items.split_at_mut_checked(middle).unwrap_or_default();
        if low.is_empty() || high.is_empty() {
            let all = if low.is_empty() { high } else { low };
            return heap_sort(all, is_less);
        }
        depth -= 1;
        let (shorter, longer) = if low.len() < high.len() { (low, high) } else { (high, low) };
        quick_sort(shorter, is_less, depth);
        items = longer;
    }
    insertion_sort(items, is_less);
}

/// Moves what is less than a pivot before what is greater (equal ones to either side), and gives where these begin;
/// neither side is empty.
fn partition<T: Copy>(items: &mut [T], is_less: &impl Fn(&T, &T) -> bool) -> usize {
    let (Some(&first), Some(&middle), Some(&last)) =
        (items.first(), items.get(items.len() / 2), items.last())
    else {
        return 0;
    };
    let (low, high) = if is_less(&middle, &first) { (middle, first) } else { (first, middle) };
    let pivot = if is_less(&last, &low) {
        low
    } else if is_less(&last, &high) {
        last
    } else {
        high
    };
    let (mut from, mut to) = (0, items.len());
    loop {
        while items.get(from).is_some_and(|item| is_less(item, &pivot)) {
            from += 1;
        }
        to = to.saturating_sub(1);
        while to > from && items.get(to).is_some_and(|item| is_less(&pivot, item)) {
            to -= 1;
        }
        if from >= to {
            return from;
        }
        swap(items, from, to);
        from += 1;
    }
}

fn insertion_sort<T: Copy>(items: &mut [T], is_less: &impl Fn(&T, &T) -> bool) {
    for end in 1..items.len() {
        let mut place = end;
        while place > 0 && are_less(items, place, place - 1, is_less) {
            swap(items, place, place - 1);
            place -= 1;
        }
    }
}

fn heap_sort<T: Copy>(items: &mut [T], is_less: &impl Fn(&T, &T) -> bool) {
    for start in (0..items.len() / 2).rev() {
        sift(items, start, is_less);
    }
    for end in (1..items.len()).rev() {
        swap(items, 0, end);
        sift(items.get_mut(..end).unwrap_or_default(), 0, is_less);
    }
}

/// Makes a heap, the greatest at the front, of one that is none at `position`.
fn sift<T: Copy>(items: &mut [T], mut position: usize, is_less: &impl Fn(&T, &T) -> bool) {
    loop {
        let mut child = 2 * position + 1;
        if are_less(items, child, child + 1, is_less) {
            child += 1;
        }
        if !are_less(items, position, child, is_less) {
            return;
        }
        swap(items, position, child);
        position = child;
    }
}

/// Whether both places are there, and what is at `a` is less than what is at `b`.
fn are_less<T>(items: &[T], a: usize, b: usize, is_less: &impl Fn(&T, &T) -> bool) -> bool {
    items.get(a).zip(items.get(b)).is_some_and(|(a, b)| is_less(a, b))
}

/// Exchanges two places, if both are there.
pub(super) fn swap<T: Copy>(items: &mut [T], a: usize, b: usize) {
    if let (Some(&first), Some(&second)) = (items.get(a), items.get(b)) {
        if let Some(place) = items.get_mut(a) {
            *place = second;
        }
        if let Some(place) = items.get_mut(b) {
            *place = first;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{heap_sort, sort};
    use crate::device::fault::SplitMix64;
    use std::vec::Vec;

    fn samples() -> Vec<Vec<u64>> {
        let mut random = SplitMix64::new(7);
        let mut samples = Vec::new();
        for len in (0..70).chain([127, 500, 1000, 4096]) {
            samples.push((0..len).collect());
            samples.push((0..len).rev().collect());
            samples.push((0..len).map(|n| n % 3).collect());
            samples.push((0..len).map(|n| n.min(len - n)).collect());
            for limit in [1, 2, 10, u64::MAX] {
                samples.push((0..len).map(|_| random.below(limit)).collect());
            }
        }
        samples
    }

    #[test]
    fn sorts_as_the_standard_library_does() {
        for sample in samples() {
            let mut expected = sample.clone();
            expected.sort_unstable();
            for by in [sort, heap_sort] {
                let mut items = sample.clone();
                by(&mut items, &|a: &u64, b: &u64| a < b);
                assert_eq!(items, expected, "{sample:?}");
            }
        }
    }

    #[test]
    fn ends_with_all_items_whatever_the_comparison_says() {
        for sample in samples() {
            let random = core::cell::RefCell::new(SplitMix64::new(sample.len() as u64));
            for likely in 0..4 {
                let mut items = sample.clone();
                // Never, sometimes, mostly, always.
                sort(&mut items, &|_: &u64, _: &u64| random.borrow_mut().below(3) < likely);
                let (mut found, mut expected) = (items, sample.clone());
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn no_order_of_the_items_makes_it_slow() {
        let compared = core::cell::Cell::new(0_u64);
        for sample in samples() {
            compared.set(0);
            sort(&mut sample.clone(), &|a, b| {
                compared.set(compared.get() + 1);
                a < b
            });
            let len = sample.len() as u64;
            let bound = 6 * len * u64::from(len.checked_ilog2().unwrap_or(0) + 4);
            assert!(compared.get() <= bound, "{} comparisons of {len} items", compared.get());
        }
    }
}
