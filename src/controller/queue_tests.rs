use super::*;
use crate::clock::SystemClock;

fn queue() -> Queue<u32> {
    Queue::new(Arc::new(SystemClock))
}

#[tokio::test(start_paused = true)]
async fn keys_come_out_in_the_order_in_which_they_went_in_and_once_each() {
    let q = queue();
    for k in [1, 2, 1, 3] {
        q.add(k);
    }
    assert_eq!((q.next().await, q.next().await, q.next().await), (Some(1), Some(2), Some(3)));
    assert_eq!(q.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_changes_while_it_is_worked_on_comes_again_afterwards() {
    let q = queue();
    q.add(1);
    assert_eq!(q.next().await, Some(1));
    q.add(1);
    assert_eq!(q.depth(), 0, "one worker a key");
    q.done(&1);
    assert_eq!(q.next().await, Some(1));
    q.done(&1);
    assert_eq!(q.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_appointment_wins_and_an_event_expedites() {
    let q = queue();
    let start = Instant::now();
    q.add_after(1, Duration::from_secs(60));
    q.add_after(1, Duration::from_secs(5));
    q.add_after(1, Duration::from_secs(90));
    assert_eq!(q.next().await, Some(1));
    assert_eq!(start.elapsed().as_secs(), 5);
    q.done(&1);
    q.add_after(2, Duration::from_secs(60));
    q.add(2);
    assert_eq!(q.next().await, Some(2));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_lets_every_worker_go() {
    let q = Arc::new(queue());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let q = Arc::clone(&q);
                async move { q.next().await }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    q.close();
    q.add(1);
    for w in waiting {
        let got = tokio::time::timeout(Duration::from_secs(1), w).await;
        assert_eq!(got.expect("the worker hangs").expect("the worker panicked"), None);
    }
}
