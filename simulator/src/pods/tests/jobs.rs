use super::*;

fn job(spec: &Value, annotations: &Value) -> Fake {
    let fake = Fake::default();
    let mut object = json!({
        "metadata": {"name": "copy"},
        "spec": {"template": {
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]},
        }},
    });
    merge(&mut object["spec"], spec);
    fake.create(Table::Jobs, object);
    fake
}

fn run(fake: &Fake, until: i64) -> Value {
    let mut runtime = runtime(0);
    for second in 0..=until {
        settle(&mut runtime, fake, second * 1_000);
    }
    fake.get(Table::Jobs, "copy")
}

fn conditions(job: &Value) -> Vec<&str> {
    let all = job["status"]["conditions"].as_array().into_iter().flatten();
    all.filter_map(|c| c["type"].as_str()).collect()
}

#[test]
fn a_job_is_complete_when_its_pod_has_succeeded() {
    let fake = job(&json!({}), &json!({ENDS_AFTER: "2500"}));
    let half = run(&fake, 2);
    assert_eq!((&half["status"]["active"], conditions(&half)), (&json!(1), vec![]));
    assert_eq!(fake.pods().len(), 1);
    let job = run(&job(&json!({}), &json!({ENDS_AFTER: "2500"})), 4);
    assert_eq!(conditions(&job), ["SuccessCriteriaMet", "Complete"]);
    assert_eq!((&job["status"]["succeeded"], &job["status"]["active"]), (&json!(1), &json!(0)));
    assert_eq!(job["status"]["completionTime"], "1970-01-01T00:00:03Z");
}

#[test]
fn a_job_runs_so_many_pods_at_a_time_until_enough_have_succeeded() {
    let fake = job(&json!({"parallelism": 2, "completions": 3}), &json!({}));
    let mut runtime = runtime(0);
    let mut seen = Vec::new();
    for second in 0..3 {
        settle(&mut runtime, &fake, second * 1_000);
        seen.push(fake.pods().len());
    }
    assert_eq!(seen, [2, 3, 3]);
    assert_eq!(fake.get(Table::Jobs, "copy")["status"]["succeeded"], 3);
}

#[test]
fn a_job_tries_again_after_a_pause_and_fails_when_too_many_pods_have() {
    let fake = job(&json!({"backoffLimit": 1}), &json!({OUTCOME: "fail"}));
    let early = run(&fake, 10);
    assert_eq!((&early["status"]["failed"], fake.pods().len()), (&json!(1), 1));
    let late = run(&job(&json!({"backoffLimit": 1}), &json!({OUTCOME: "fail"})), 30);
    assert_eq!((conditions(&late), &late["status"]["failed"]), (vec!["FailureTarget", "Failed"], &json!(2)));
    assert_eq!(late["status"]["conditions"][1]["reason"], "BackoffLimitExceeded");
}

#[test]
fn a_job_that_is_suspended_or_too_slow_has_no_pods() {
    let fake = job(&json!({"suspend": true}), &json!({}));
    run(&fake, 3);
    assert!(fake.pods().is_empty());
    let slow = job(&json!({"activeDeadlineSeconds": 5}), &json!({ENDS_AFTER: "60000"}));
    let job = run(&slow, 6);
    assert_eq!(job["status"]["conditions"][1]["reason"], "DeadlineExceeded");
}

#[test]
fn a_finished_job_goes_when_its_time_is_over() {
    let fake = job(&json!({"ttlSecondsAfterFinished": 5}), &json!({}));
    run(&fake, 4);
    assert!(!fake.get(Table::Jobs, "copy").is_null());
    run(&fake, 8);
    assert!(fake.get(Table::Jobs, "copy").is_null());
}
