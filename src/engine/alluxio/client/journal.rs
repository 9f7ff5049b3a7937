//! ```text
//! GetQuorumInfo -> Vec<Voter>     TransferLeadership(journal address) -> id, GetTransferLeaderMessage(id)     ResetPriorities
//! ```
//! Who leads the masters that share an embedded journal. A transfer is answered at once whatever its target is: only its message
//! says that the target is none (2.9.4, 2.9.6). It takes effect some 20 s later and leaves the masters with other priorities.

use super::calls;
use super::cluster::empty;
use super::proto::grpc::NetAddress;
use super::proto::grpc::journal::{
    GetQuorumInfoRequest, GetTransferLeaderMessageRequest, QuorumServerState, ResetPrioritiesRequest,
    TransferLeadershipRequest,
};
use super::{AlluxioClient, AlluxioError};

/// One master of a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its host, as the masters know it.
    pub host: String,
    /// Port of its journal.
    pub journal_port: i32,
    /// It answers the others.
    pub available: bool,
    /// It leads.
    pub leads: bool,
}

impl AlluxioClient {
    /// The masters that share the journal (GetQuorumInfo).
    ///
    /// # Errors
    /// `NotReady` without a primary; `Unknown` where the journal is no embedded one.
    pub async fn quorum(&self) -> Result<Vec<Voter>, AlluxioError> {
        let reply = self.router().unary(&calls::GET_QUORUM_INFO, GetQuorumInfoRequest {}).await?;
        let voter = |s: super::proto::grpc::journal::QuorumServer| {
            let NetAddress { host, rpc_port } = s.server_address.unwrap_or_default();
            Voter {
                host: host.unwrap_or_default(),
                journal_port: rpc_port.unwrap_or_default(),
                available: s.server_state == Some(QuorumServerState::QuorumServerAvailable as i32),
                leads: s.is_leader.unwrap_or_default(),
            }
        };
        Ok(reply.server_info.into_iter().map(voter).collect())
    }

    /// Has another master lead; gives back an id for [`Self::transfer_message`] (TransferLeadership).
    ///
    /// # Errors
    /// `Unknown` if it may have begun.
    pub async fn transfer_leadership(&self, to: &Voter) -> Result<String, AlluxioError> {
        let address = NetAddress { host: Some(to.host.clone()), rpc_port: Some(to.journal_port) };
        let request = TransferLeadershipRequest { server_address: Some(address) };
        let call = &calls::TRANSFER_LEADERSHIP;
        let reply = self.router().unary(call, request).await?;
        reply.transfer_id.ok_or_else(|| empty(call.info.name))
    }

    /// Why a transfer does not happen; empty while nothing is wrong with it (GetTransferLeaderMessage).
    ///
    /// # Errors
    /// `NotReady` without a primary.
    pub async fn transfer_message(&self, id: &str) -> Result<String, AlluxioError> {
        let request = GetTransferLeaderMessageRequest { transfer_id: Some(id.to_owned()) };
        let reply = self.router().unary(&calls::GET_TRANSFER_LEADER_MESSAGE, request).await?;
        Ok(super::redact(&reply.trans_msg.and_then(|m| m.msg).unwrap_or_default()))
    }

    /// Lets every master lead as well as any other (ResetPriorities). May be repeated.
    ///
    /// # Errors
    /// `NotReady` without a primary.
    pub async fn reset_priorities(&self) -> Result<(), AlluxioError> {
        self.router().unary(&calls::RESET_PRIORITIES, ResetPrioritiesRequest {}).await.map(|_| ())
    }
}
