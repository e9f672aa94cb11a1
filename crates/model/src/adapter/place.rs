//! From the names in an adapter to places in the architecture.

use weights::{Adapter, AdapterForm};

use super::AdapterError;
use crate::families::Family;
use crate::families::names::{Name, Slot};
use crate::rope::Pairing;
use crate::stages::Place;

/// The slots whose weights adapters may change.
pub(super) const ADAPTED: &[Slot] =
    &[Slot::Query, Slot::Key, Slot::Value, Slot::Output, Slot::Gate, Slot::Up, Slot::Down];

/// The place of the weight that is called `target` in the adapter's form.
pub(super) fn find(family: Family, form: AdapterForm, target: &str) -> Result<Place, AdapterError> {
    let refused = |why| AdapterError::Target { target: target.to_owned(), why };
    let rows = family.table().tensors;
    let found = rows.iter().find_map(|row| Some((row.slot, numbers(of(row, form), target)?)));
    let Some((slot, layer)) = found else {
        return Err(refused("the architecture has no weight of this name"));
    };
    if ADAPTED.contains(&slot) {
        return Ok(Place { slot, layer });
    }
    Err(refused(match slot {
        Slot::Embedding => "adapters of the embedding are not implemented",
        Slot::Head => "adapters of the output matrix are not implemented",
        Slot::Router => "adapters of routers are not implemented",
        Slot::ExpertGate
        | Slot::ExpertUp
        | Slot::ExpertDown
        | Slot::ExpertGateUp
        | Slot::ExpertDownAll => "adapters of experts are not implemented",
        _ => "it is no matrix of a linear layer",
    }))
}

/// What the weight in a slot is called in the adapter's form.
pub(super) fn name(family: Family, form: AdapterForm, slot: Slot, layer: usize) -> String {
    let row = family.table().tensors.iter().find(|row| row.slot == slot);
    // A family without gates has no row for them, and no weight.
    let Some(row) = row else { return String::new() };
    of(row, form).replace("{layer}", &layer.to_string())
}

fn of(row: &Name, form: AdapterForm) -> &'static str {
    match form {
        AdapterForm::Peft => row.hf,
        AdapterForm::Gguf => row.gguf,
    }
}

/// The layer in a name that fits `pattern`, 0 where the pattern has none.
fn numbers(pattern: &str, name: &str) -> Option<usize> {
    let (mut pattern, mut name, mut layer) = (pattern, name, 0);
    while let Some((before, rest)) = pattern.split_once('{') {
        let (place, after) = rest.split_once('}')?;
        name = name.strip_prefix(before)?;
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let number = &name[..digits];
        // As checkpoints write it: no other spelling of a number that is taken.
        if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
            return None;
        }
        if place == "layer" {
            layer = number.parse().ok()?;
        }
        (name, pattern) = (&name[digits..], after);
    }
    (name == pattern).then_some(layer)
}

/// Refuses an adapter that says that it is for another architecture.
pub(super) fn check_architecture(adapter: &Adapter, family: Family) -> Result<(), AdapterError> {
    let expected = family.table().gguf;
    match adapter.architecture() {
        Some(got) if Some(got) != expected => {
            let expected = expected.unwrap_or("an adapter that names none");
            Err(AdapterError::Architecture { expected, got: got.chars().take(60).collect() })
        }
        _ => Ok(()),
    }
}

/// How queries and keys are paired by the rotation in checkpoints of this form.
pub(super) fn pairing(family: Family, form: AdapterForm) -> Pairing {
    match (form, family) {
        // The converter reorders the rows of this architecture alone.
        (AdapterForm::Gguf, Family::Llama) => Pairing::Adjacent,
        _ => Pairing::Half,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again() {
        for family in Family::ALL {
            for form in [AdapterForm::Peft, AdapterForm::Gguf] {
                let rows = family.table().tensors;
                let has = |slot: &&Slot| rows.iter().any(|row| row.slot == **slot);
                for (&slot, layer) in
                    ADAPTED.iter().filter(has).zip([0, 1, 9, 10, 101, 1023, usize::MAX])
                {
                    let found = find(family, form, &name(family, form, slot, layer));
                    let found = found.expect("its own name");
                    assert_eq!((found.slot, found.layer), (slot, layer));
                }
            }
        }
    }

    #[test]
    fn fuzz_names() {
        let names = bolero::generator::produce::<(bool, u8, u8, String)>();
        bolero::check!().with_iterations(20_000).with_generator(names).for_each(
            |(is_peft, slot, at, text)| {
                let form = if *is_peft { AdapterForm::Peft } else { AdapterForm::Gguf };
                let slot = ADAPTED[usize::from(*slot) % ADAPTED.len()];
                let mut changed = name(Family::Qwen3, form, slot, 7);
                changed.insert_str(usize::from(*at) % (changed.len() + 1), text);
                if let Ok(place) = find(Family::Qwen3, form, &changed) {
                    assert_eq!(name(Family::Qwen3, form, place.slot, place.layer), changed);
                }
            },
        );
    }
}
