//! Each shipped composition rule over gRPC, with nothing told of the tools but their names: a chain of
//! calls that it is for, and one close to it that it is not for.

use crate::stage::{Line, Stage, tuesday};
use askance::clock::Clock;
use askance::proto::v1;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;

/// One call: minute of the story, session (a name behind `<` is the session it was started by), server and
/// tool, arguments, result.
struct Step {
    minute: i64,
    session: &'static str,
    tool: &'static str,
    arguments: String,
    result: String,
}

fn step(minute: i64, tool: &'static str) -> Step {
    Step { minute, session: "main", tool, arguments: "{}".to_owned(), result: String::new() }
}

impl Step {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.arguments = format!(r#"{{"{name}":"{value}"}}"#);
        self
    }

    fn brings(mut self, result: &str) -> Self {
        result.clone_into(&mut self.result);
        self
    }

    fn of(mut self, session: &'static str) -> Self {
        self.session = session;
        self
    }
}

/// In observe mode every call is made, whatever it would have been answered.
const POLICY: &str = "version: 1\nmode: observe\n";

async fn tell(
    stage: &Stage,
    gateway: &mut GatewayServiceClient<Line>,
    story: &str,
    steps: &[Step],
) -> Vec<String> {
    let start = tuesday();
    let mut last = v1::Decision::default();
    for (number, step) in steps.iter().enumerate() {
        stage.it_is(start.plus_micros(step.minute * 60_000_000));
        let (server, tool) = step.tool.split_once('/').unwrap();
        let (session, parent) = step.session.split_once('<').unwrap_or((step.session, ""));
        let named = |name: &str| if name.is_empty() { String::new() } else { format!("{story}-{name}") };
        let call_id = format!("{story}-{number}");
        let call = v1::ToolCall {
            call_id: call_id.clone(),
            tool: tool.to_owned(),
            server: server.to_owned(),
            arguments_json: step.arguments.clone().into_bytes().into(),
            principal_chain: vec!["user:ann".to_owned(), format!("agent:{story}")],
            session: Some(v1::SessionHints {
                session_id: named(session),
                parent_session_id: named(parent),
                ..v1::SessionHints::default()
            }),
            ..v1::ToolCall::default()
        };
        let request = v1::EvaluateRequest { call: Some(call), explain: true, ..Default::default() };
        last = gateway.evaluate(request).await.unwrap().into_inner().decision.unwrap();
        let outcome = v1::Outcome {
            status: v1::OutcomeStatus::Ok.into(),
            result_text: step.result.clone().into_bytes().into(),
            ..v1::Outcome::default()
        };
        let request = v1::RecordOutcomeRequest { call_id, outcome: Some(outcome), ..Default::default() };
        gateway.record_outcome(request).await.unwrap();
    }
    let told = last.findings.iter().filter(|finding| finding.detector() == v1::Detector::Composition);
    let id = |finding: &v1::Finding| finding.sentence.split('`').nth(1).unwrap().to_owned();
    told.map(id).collect()
}

fn repeated(count: i64, minutes: i64, tool: &'static str) -> Vec<Step> {
    (0..count)
        .map(|number| step(number * minutes, tool).with("name", &format!("customer-file-{number}")))
        .collect()
}

fn then(mut steps: Vec<Step>, last: Step) -> Vec<Step> {
    steps.push(last);
    steps
}

const SEND: &str = "mail/send_email";

/// Rule, the chain it is for, the one it is not for.
type Story = (&'static str, Vec<Step>, Vec<Step>);

fn of_data_that_leaves() -> Vec<Story> {
    let secret = |session| step(60, "vault/get_secret").of(session);
    vec![
        (
            "config-key-outbound",
            vec![step(0, "fs/read_config"), step(1, "vault/get_secret"), step(2, "web/upload_file")],
            vec![step(0, "vault/get_secret"), step(1, "fs/read_config"), step(2, "web/upload_file")],
        ),
        (
            "secret-value-leaves",
            vec![
                step(0, "vault/get_secret").brings("harbor-robot-account-17"),
                step(20, SEND).with("body", "harbor-robot-account-17"),
            ],
            vec![
                step(0, "vault/get_secret").brings("harbor-robot-account-17"),
                step(20, SEND).with("body", "harbor-robot-account-18"),
            ],
        ),
        (
            "lethal-trifecta",
            vec![step(0, "crm/get_customer"), step(1, "mail/read_inbox"), step(2, SEND)],
            vec![step(0, "crm/get_customer"), step(1, "crm/get_customer"), step(2, SEND)],
        ),
        (
            "trifecta-over-sessions",
            vec![step(0, "web/fetch_url"), secret("left<main"), step(200, SEND).of("right<main")],
            vec![step(0, "web/fetch_url"), secret("left<main"), step(200, SEND).of("right")],
        ),
        (
            "mass-read-then-egress",
            then(repeated(20, 0, "crm/get_customer"), step(14, SEND)),
            then(repeated(19, 0, "crm/get_customer"), step(14, SEND)),
        ),
        (
            "fan-out-egress",
            vec![
                step(0, SEND),
                step(1, "chat/send_message"),
                step(2, "web/upload_file"),
                step(3, "sms/send_message"),
            ],
            vec![step(0, SEND), step(1, "chat/send_message"), step(2, "web/upload_file"), step(3, SEND)],
        ),
    ]
}

fn of_rights() -> Vec<Story> {
    let secrets = |different: i64| {
        (0..8)
            .map(|n| step(n, "vault/get_secret").with("name", &format!("service-key-{}", n % different)))
            .collect()
    };
    vec![
        (
            "credential-then-deploy",
            vec![step(0, "vault/get_secret"), step(29, "k8s/deploy_service")],
            vec![step(0, "vault/get_secret"), step(31, "k8s/deploy_service")],
        ),
        (
            "grant-then-use",
            vec![
                step(0, "iam/grant_role").with("account", "svc-deployer-77"),
                step(300, "k8s/deploy_service").with("as", "svc-deployer-77").of("later"),
            ],
            vec![
                step(0, "iam/grant_role").with("account", "svc-deployer-77"),
                step(300, "k8s/deploy_service").with("as", "svc-deployer-78").of("later"),
            ],
        ),
        ("secret-harvest", secrets(8), secrets(7)),
        (
            "self-reconfiguration",
            vec![step(0, "host/update_mcp_config"), step(9, "sh/run_command")],
            vec![step(0, "host/get_mcp_config"), step(9, "sh/run_command")],
        ),
    ]
}

fn of_strangers() -> Vec<Story> {
    vec![
        (
            "untrusted-then-execute",
            vec![
                step(0, "git/get_issue").brings("please-run-cleanup-all.sh"),
                step(3, "sh/run_command").with("command", "please-run-cleanup-all.sh"),
            ],
            vec![
                step(0, "git/get_issue").brings("please-run-cleanup-all.sh"),
                step(3, "sh/run_command").with("command", "list-the-files.sh"),
            ],
        ),
        (
            "untrusted-then-spend",
            vec![
                step(0, "mail/read_inbox").brings("DE89370400440532013000"),
                step(3, "bank/transfer_money").with("iban", "DE89370400440532013000"),
            ],
            vec![
                step(0, "bank/get_balance").brings("DE89370400440532013000"),
                step(3, "bank/transfer_money").with("iban", "DE89370400440532013000"),
            ],
        ),
    ]
}

fn of_destruction() -> Vec<Story> {
    vec![
        (
            "blind-then-destroy",
            vec![step(0, "ops/disable_audit_log"), step(5, "db/drop_table")],
            vec![step(0, "ops/get_audit_log"), step(5, "db/drop_table")],
        ),
        (
            "backup-then-destroy",
            vec![step(0, "db/delete_snapshot"), step(600, "db/drop_database").of("later")],
            vec![step(0, "db/create_snapshot"), step(600, "db/drop_database").of("later")],
        ),
        ("destruction-spree", repeated(10, 1, "db/delete_record"), repeated(10, 2, "db/delete_record")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_fires_on_its_story_and_not_on_the_one_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::with_policy(dir.path(), &Clock::manual(tuesday()), POLICY).await;
    let mut gateway = stage.gateway().await;
    let stories: Vec<Story> = [of_data_that_leaves(), of_rights(), of_strangers(), of_destruction()]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(stories.len(), 15, "one story for each shipped rule");
    let mut wrong = Vec::new();
    for (rule, attack, beside) in stories {
        let fired = tell(&stage, &mut gateway, &format!("{rule}-yes"), &attack).await;
        if !fired.iter().any(|id| id == rule) {
            wrong.push(format!("{rule} is silent on its story; {fired:?}"));
        }
        let fired = tell(&stage, &mut gateway, &format!("{rule}-no"), &beside).await;
        if fired.iter().any(|id| id == rule) {
            wrong.push(format!("{rule} fires on the story beside it; {fired:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.close().await;
}
