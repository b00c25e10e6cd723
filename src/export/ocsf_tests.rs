use super::super::row::tests::row_of;
use super::*;
use crate::proto::v1::Verdict;
use serde_json::Map;

/// What a field must be.
#[derive(Clone, Copy)]
enum Is {
    Text,
    Number,
    /// One of these numbers.
    In(&'static [u64]),
    /// An object with these fields, of which those marked must be there.
    Object(&'static [Field]),
    /// A list of such objects, not empty.
    List(&'static [Field]),
    Any,
}

/// Name, whether it must be there, and what it must be. Typed by hand from the schema's pages; no other field is
/// allowed.
type Field = (&'static str, bool, Is);

const METADATA: &[Field] = &[
    ("version", true, Is::Text),
    (
        "product",
        true,
        Is::Object(&[
            ("name", true, Is::Text),
            ("vendor_name", true, Is::Text),
            ("version", false, Is::Text),
        ]),
    ),
    ("uid", false, Is::Text),
    ("sequence", false, Is::Number),
    ("correlation_uid", false, Is::Text),
    ("tenant_uid", false, Is::Text),
    ("logged_time", false, Is::Number),
    ("profiles", false, Is::Any),
];
const ACTOR: &[Field] = &[
    ("user", true, Is::Object(&[("name", true, Is::Text), ("uid", false, Is::Text)])),
    ("session", false, Is::Object(&[("uid", true, Is::Text)])),
];
const OBSERVED: &[Field] = &[
    ("observation_parameter", true, Is::Text),
    ("observation_type", false, Is::Text),
    ("observations", true, Is::List(&[("value", true, Is::Text)])),
];
const API_ACTIVITY: &[Field] = &[
    ("activity_id", true, Is::In(&[1, 2, 3, 4, 99])),
    ("activity_name", false, Is::Text),
    ("category_uid", true, Is::In(&[6])),
    ("category_name", false, Is::Text),
    ("class_uid", true, Is::In(&[6003])),
    ("class_name", false, Is::Text),
    ("type_uid", true, Is::In(&[600_301, 600_302, 600_303, 600_304, 600_399])),
    ("type_name", false, Is::Text),
    ("severity_id", true, Is::In(&[1, 2, 3, 4, 5])),
    ("time", true, Is::Number),
    ("metadata", true, Is::Object(METADATA)),
    ("actor", true, Is::Object(ACTOR)),
    (
        "api",
        true,
        Is::Object(&[
            ("operation", true, Is::Text),
            ("service", false, Is::Object(&[("name", true, Is::Text)])),
            ("request", false, Is::Object(&[("uid", true, Is::Text)])),
        ]),
    ),
    ("src_endpoint", true, Is::Object(&[("name", true, Is::Text)])),
    ("action_id", true, Is::In(&[1, 2, 3])),
    ("disposition_id", true, Is::In(&[1, 2, 8, 14, 19, 24, 25])),
    ("is_alert", false, Is::Any),
    ("policy", false, Is::Object(&[("name", true, Is::Text)])),
    ("message", false, Is::Text),
    ("unmapped", false, Is::Any),
];
const DETECTION_FINDING: &[Field] = &[
    ("activity_id", true, Is::In(&[1, 2, 3])),
    ("activity_name", false, Is::Text),
    ("category_uid", true, Is::In(&[2])),
    ("category_name", false, Is::Text),
    ("class_uid", true, Is::In(&[2004])),
    ("class_name", false, Is::Text),
    ("type_uid", true, Is::In(&[200_401, 200_402, 200_403])),
    ("type_name", false, Is::Text),
    ("severity_id", true, Is::In(&[1, 2, 3, 4, 5])),
    ("status_id", false, Is::In(&[1, 2, 3, 4])),
    ("time", true, Is::Number),
    ("metadata", true, Is::Object(METADATA)),
    (
        "finding_info",
        true,
        Is::Object(&[
            ("uid", true, Is::Text),
            ("title", false, Is::Text),
            ("desc", false, Is::Text),
            (
                "analytic",
                false,
                Is::Object(&[
                    ("name", false, Is::Text),
                    ("type_id", true, Is::In(&[1, 2, 3, 4])),
                    ("type", false, Is::Text),
                ]),
            ),
            ("created_time", false, Is::Number),
        ]),
    ),
    ("risk_score", false, Is::Number),
    ("risk_level_id", false, Is::In(&[0, 1, 2, 3, 4])),
    ("message", false, Is::Text),
    (
        "evidences",
        false,
        Is::List(&[
            ("actor", false, Is::Object(ACTOR)),
            ("api", false, Is::Object(&[("operation", true, Is::Text)])),
        ]),
    ),
    (
        "anomaly_analyses",
        false,
        Is::List(&[
            ("analysis_targets", true, Is::List(&[("name", true, Is::Text), ("type", false, Is::Text)])),
            ("anomalies", true, Is::List(OBSERVED)),
            ("baselines", false, Is::List(OBSERVED)),
        ]),
    ),
    ("unmapped", false, Is::Any),
];

/// JSON Schema of an object with these fields and no others.
fn schema_of(fields: &[Field]) -> Value {
    let property = |(name, _, is): &Field| ((*name).to_owned(), schema_is(*is));
    let required: Vec<&str> = fields.iter().filter(|(_, must, _)| *must).map(|(name, ..)| *name).collect();
    json!({
        "type": "object",
        "properties": fields.iter().map(property).collect::<Map<String, Value>>(),
        "required": required,
        "additionalProperties": false,
    })
}

fn schema_is(is: Is) -> Value {
    match is {
        Is::Any => json!({}),
        Is::Text => json!({ "type": "string", "minLength": 1 }),
        Is::Number => json!({ "type": "number" }),
        Is::In(numbers) => json!({ "enum": numbers }),
        Is::Object(fields) => schema_of(fields),
        Is::List(fields) => json!({ "type": "array", "minItems": 1, "items": schema_of(fields) }),
    }
}

/// JSON Schema of a class: its fields, and a type that is class and activity together.
fn schema_of_class(title: &str, class: u64, activities: &[u64], fields: &[Field]) -> Value {
    let types = activities.iter().map(|activity| {
        let (activity_id, type_uid) =
            (json!({ "const": activity }), json!({ "const": class * 100 + activity }));
        json!({ "properties": { "activity_id": activity_id, "type_uid": type_uid } })
    });
    let mut schema = schema_of(fields);
    if let Some(own) = schema.as_object_mut() {
        own.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        own.insert("title".to_owned(), json!(title));
        own.insert("oneOf".to_owned(), types.collect());
    }
    schema
}

/// The schemas by the names of their files under `tests/ocsf`.
fn schemas() -> [(&'static str, Value); 2] {
    let activity = schema_of_class("OCSF 1.8 API Activity", 6003, &[1, 2, 3, 4, 99], API_ACTIVITY);
    let finding = schema_of_class("OCSF 1.8 Detection Finding", 2004, &[1, 2, 3], DETECTION_FINDING);
    [("api_activity_6003.schema.json", activity), ("detection_finding_2004.schema.json", finding)]
}

fn check(event: &Value) -> Vec<String> {
    let [activity, finding] = schemas();
    let (_, schema) = if event["class_uid"] == 6003 { activity } else { finding };
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(event).map(|fault| format!("{} {fault}", fault.instance_path())).collect()
}

/// The files are what the tables above say; `ASKANCE_GOLDEN=write` writes them.
#[test]
fn committed_schemas_are_those_of_the_tables() {
    for (name, schema) in schemas() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ocsf").join(name);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var("ASKANCE_GOLDEN").is_ok_and(|what| what == "write") {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{name}");
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
    }
}

#[test]
fn events_have_the_fields_of_their_class_and_no_others() {
    for (verdict, count) in [(Verdict::Allow, 1), (Verdict::Review, 2), (Verdict::Deny, 2)] {
        for risk in [0, 29, 30, 69, 70, 100] {
            let events = events(&row_of("drop_table", verdict, risk));
            assert_eq!(events.len(), count, "{verdict:?}");
            for event in &events {
                assert_eq!(check(event), Vec::<String>::new(), "{event:#}");
            }
        }
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let good = events(&row_of("drop_table", Verdict::Review, 81)).remove(1);
    let spoil = |change: fn(&mut Map<String, Value>)| {
        let mut event = good.clone();
        change(event.as_object_mut().unwrap());
        check(&event).len()
    };
    assert_eq!(spoil(|_| {}), 0);
    assert_eq!(spoil(|event| drop(event.remove("metadata"))), 1);
    assert_eq!(spoil(|event| drop(event.insert("typo".to_owned(), json!(1)))), 1);
    assert_eq!(spoil(|event| drop(event.insert("severity_id".to_owned(), json!(9)))), 1);
    assert_eq!(spoil(|event| event["anomaly_analyses"][0]["anomalies"] = json!([])), 1);
    assert_eq!(spoil(|event| drop(event.insert("activity_id".to_owned(), json!(2)))), 1);
    assert_eq!(spoil(|event| drop(event.insert("message".to_owned(), json!("")))), 1);
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut row = row_of("drop_table", Verdict::Deny, 95);
    (row.server, row.reason, row.client) = (String::new(), String::new(), String::new());
    row.findings.clear();
    for event in events(&row) {
        assert_eq!(check(&event), Vec::<String>::new(), "{event:#}");
    }
}

#[test]
fn what_was_observed_stands_against_what_is_usual() {
    let finding = events(&row_of("drop_table", Verdict::Deny, 95)).remove(1);
    let analysis = &finding["anomaly_analyses"][0];
    assert_eq!(analysis["anomalies"][0]["observation_parameter"], "novelty");
    assert_eq!(analysis["anomalies"][0]["observations"][0]["value"], "never used before");
    assert_eq!(analysis["baselines"][0]["observations"][0]["value"], "0 of 11 principals use it");
    assert_eq!((finding["severity_id"].as_u64(), finding["risk_level_id"].as_u64()), (Some(5), Some(4)));
}
