//! Records that no daemon wrote: those of a later version, of a damaged ledger, of another program.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{all, story_of};
use crate::contract::EndingRecord;

/// What may stand where another value is expected.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,40}".prop_map(Value::from),
        // Times at the ends of the calendar, and words that are known elsewhere.
        prop::sample::select(vec![
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999Z",
            "1960-01-01T00:00:00Z",
            "open_failed",
            "clean",
            "messages_per_second",
            "\u{1b}[31m\n",
        ])
        .prop_map(Value::from),
    ]
}

/// Returns the places of a record, those in its objects included.
fn places(record: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(fields) = record {
        for (name, value) in fields {
            let place = format!("{at}/{name}");
            places(value, &place, found);
            found.push(place);
        }
    }
}

proptest! {
    #[test]
    fn an_altered_record_is_told_or_refused(
        case in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
    ) {
        let cases = all();
        let (_, ending) = case.get(&cases);
        let mut record = serde_json::to_value(ending).unwrap();
        let mut found = Vec::new();
        places(&record, "", &mut found);
        for (place, value) in changes {
            let place: &String = place.get(&found);
            // A change before may have replaced the object around it.
            if let Some(old) = record.pointer_mut(place) {
                *old = value;
            }
        }
        if let Ok(altered) = serde_json::from_value::<EndingRecord<'_>>(record) {
            let story = story_of(&altered);
            prop_assert!(story.contains("Meaning"), "{}", story);
            prop_assert!(!story.chars().any(|c| c.is_control() && c != '\n'), "{:?}", story);
        }
    }
}
