//! Who leads the masters, as an effect: look at the quorum, compare, transfer, and hear whether the target is one.

use super::Alluxio;
use super::client::AlluxioError;
use super::mount::{Unchanged, in_time, refused};
use crate::engine::Call;
use ratchet_state_machine::effect::{Effect, Receipt};
use std::time::Duration;

/// So often the message of a transfer is asked for, and the pause between two looks.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);

impl Alluxio {
    /// Carries out an effect on who leads.
    pub(super) async fn change_leader(&self, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        if let Effect::ResetPriorities {} = call.effect {
            in_time(call)?;
            self.client.reset_priorities().await?;
            return Ok(Receipt::default());
        }
        let host = call.workers.first().map_or("", |w| w.host.as_str());
        let quorum = self.client.quorum().await?;
        let Some(to) = quorum.iter().find(|v| v.host == host) else {
            let message = format!("{host} is none of the masters that share the journal");
            return Err(refused("NotInQuorum", message, true));
        };
        if to.leads {
            return Ok(Receipt { attached: true, ..Receipt::default() });
        }
        if !to.available {
            return Err(refused(
                "MasterNotAvailable",
                format!("{host} does not answer the other masters"),
                true,
            ));
        }
        in_time(call)?;
        let id = self.client.transfer_leadership(to).await?;
        for _ in 0..LOOKS {
            tokio::time::sleep(PAUSE).await;
            match self.client.transfer_message(&id).await {
                Ok(message) if message.is_empty() => {}
                Ok(message) => return Err(refused("TransferRefused", message, true)),
                // Nobody leads for a moment: it happens.
                Err(AlluxioError::NotReady { .. } | AlluxioError::Unreachable { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Receipt::default())
    }
}
