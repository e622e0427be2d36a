//! In which order the addresses of a host are tried: families take turns, so that one broken
//! family costs at most one attempt in two (RFC 8305 section 4; asyncio's `interleave`).

use std::collections::VecDeque;

/// Orders `addresses` so that families alternate, each in its own order and families in the order
/// of their first address. The first family leads with `first_family_count` of its addresses.
pub fn interleave<A, F: PartialEq>(
    addresses: Vec<A>,
    family: impl Fn(&A) -> F,
    first_family_count: usize,
) -> Vec<A> {
    let mut ordered = Vec::with_capacity(addresses.len());
    let mut families: Vec<(F, VecDeque<A>)> = Vec::new();
    for address in addresses {
        let of = family(&address);
        match families.iter_mut().find(|(known, _)| *known == of) {
            Some((_, members)) => members.push_back(address),
            None => families.push((of, VecDeque::from([address]))),
        }
    }
    if let Some((_, first)) = families.first_mut() {
        let head_start = first_family_count.saturating_sub(1).min(first.len());
        ordered.extend(first.drain(..head_start));
    }
    while families.iter().any(|(_, members)| !members.is_empty()) {
        ordered.extend(families.iter_mut().filter_map(|(_, members)| members.pop_front()));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn family(address: &&str) -> char {
        address.chars().next().unwrap_or_default()
    }

    fn ordered(addresses: &str, first_family_count: usize) -> String {
        let addresses = addresses.split(' ').collect();
        interleave(addresses, family, first_family_count).join(" ")
    }

    #[test]
    fn families_take_turns() {
        assert_eq!(ordered("61 62 63 41 42", 1), "61 41 62 42 63");
        assert_eq!(ordered("41 61 62", 1), "41 61 62");
        assert_eq!(ordered("61 41 11 62 42", 1), "61 41 11 62 42");
    }

    #[test]
    fn the_first_family_leads_with_as_many_as_asked() {
        assert_eq!(ordered("61 62 63 41 42", 2), "61 62 41 63 42");
        assert_eq!(ordered("61 62 41 42", 9), "61 62 41 42");
        assert_eq!(ordered("61 62 41 42", 0), ordered("61 62 41 42", 1));
    }

    proptest! {
        #[test]
        fn no_address_is_lost_and_families_keep_their_order(
            families in prop::collection::vec(0..3, 0..20),
            first_family_count in 0_usize..5,
        ) {
            let numbered: Vec<(i32, usize)> = families.iter().copied().zip(0..).collect();
            let ordered = interleave(numbered.clone(), |(family, _)| *family, first_family_count);
            for family in 0..3 {
                let of_family = |list: &[(i32, usize)]| -> Vec<usize> {
                    list.iter().filter(|(of, _)| *of == family).map(|(_, number)| *number).collect()
                };
                prop_assert_eq!(of_family(&ordered), of_family(&numbered));
            }
        }
    }
}
