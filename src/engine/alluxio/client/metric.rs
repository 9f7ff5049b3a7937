//! ```text
//! GetMetrics -> how much of what clients read came from the cache
//! ```
//! The primary adds up what workers report to it (2.9: every minute or so); it forgets that with a restart.

use super::proto::grpc::metric::{GetMetricsPRequest, GetMetricsPResponse};
use super::{AlluxioClient, AlluxioError, calls};

/// Bytes that clients got from workers, by where the workers had them (2.9).
const FROM_WORKERS: [&str; 3] =
    ["Cluster.BytesReadLocal", "Cluster.BytesReadDomain", "Cluster.BytesReadRemote"];
/// Bytes of them that the workers had to get from the under-storage first (2.9).
const FROM_STORE: &str = "Cluster.BytesReadUfsAll";

impl AlluxioClient {
    /// Percentage of the bytes that clients have read which the cache had, rounded down (GetMetrics). None: nothing was read
    /// yet.
    ///
    /// # Errors
    /// `NotReady` without a primary.
    pub async fn hit_percent(&self) -> Result<Option<i64>, AlluxioError> {
        self.router().unary(&calls::GET_METRICS, GetMetricsPRequest {}).await.map(|m| hit_percent(&m))
    }
}

fn hit_percent(metrics: &GetMetricsPResponse) -> Option<i64> {
    let value = |name: &str| metrics.metrics.get(name).and_then(|m| m.double_value).unwrap_or(0.0);
    let read: f64 = FROM_WORKERS.iter().map(|n| value(n)).sum();
    let share = (read - value(FROM_STORE)).max(0.0) / read;
    #[allow(clippy::cast_possible_truncation, reason = "a percentage")]
    (read > 0.0).then(|| (share * 100.0).floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::proto::grpc::metric::MetricValue;
    use super::*;

    #[test]
    fn what_came_from_the_store_is_no_hit() {
        let metrics = |all: &[(&str, f64)]| {
            let value = |v: f64| MetricValue { double_value: Some(v), string_value: None };
            let metrics = all.iter().map(|(n, v)| ((*n).to_owned(), value(*v))).collect();
            GetMetricsPResponse { metrics }
        };
        assert_eq!(hit_percent(&metrics(&[])), None);
        let read = [("Cluster.BytesReadLocal", 300.0), ("Cluster.BytesReadRemote", 700.0)];
        assert_eq!(hit_percent(&metrics(&read)), Some(100));
        let mut some = read.to_vec();
        some.push((FROM_STORE, 251.0));
        assert_eq!(hit_percent(&metrics(&some)), Some(74));
        some.push(("Cluster.BytesReadDomain", -1e9));
        assert_eq!(hit_percent(&metrics(&some)), None);
    }
}
