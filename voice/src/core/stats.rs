//! What happened, in numbers.

/// Counters of a core since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rooms, connections and tracks at the moment.
    pub rooms: usize,
    /// Connections at the moment.
    pub peers: usize,
    /// Published tracks at the moment.
    pub tracks: usize,
    /// Datagrams that came.
    pub datagrams_in: u64,
    /// Datagrams that went.
    pub datagrams_out: u64,
    /// Bytes of both.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
    /// Media packets that came and were authentic.
    pub packets_in: u64,
    /// Copies of media packets that went, without retransmissions.
    pub packets_out: u64,
    /// Retransmissions that went.
    pub repairs_out: u64,
    /// Packets that a publisher sent again because it was asked.
    pub repairs_in: u64,
    /// Requests for lost packets to publishers, in packets.
    pub asked: u64,
    /// Requests for key frames to publishers.
    pub key_requests: u64,
    /// Dropped datagrams, by cause.
    pub dropped: Dropped,
}

/// Why datagrams were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of no known address or name.
    pub stranger: u64,
    /// Not what it claims to be, or of an unknown source.
    pub malformed: u64,
    /// STUN with a wrong password, media with a wrong tag.
    pub forged: u64,
    /// Seen before.
    pub replayed: u64,
    /// Above a limit of rate.
    pub excess: u64,
    /// The outbox was full.
    pub outbox: u64,
}

/// One connection in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Whether keys are agreed.
    pub connected: bool,
    /// Name of the SRTP profile.
    pub profile: &'static str,
    /// Round trip in microseconds as the last reports tell it; of subscribers.
    pub round_trip_us: Option<u64>,
    /// What the way to a subscriber carries, bits per second.
    pub estimate_bps: u64,
    /// Tracks of a publisher or slots of a subscriber.
    pub tracks: Vec<TrackStats>,
}

/// One track of a publisher, or one slot of a subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackStats {
    /// The m-line.
    pub mid: String,
    /// Packets that came from a publisher, or went to a subscriber.
    pub packets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Packets that did not come at first, as the receiving side counts.
    pub lost: u64,
    /// Jitter in ticks of the media clock, as the receiving side measures.
    pub jitter: u32,
    /// Retransmitted packets.
    pub repaired: u64,
    /// Simulcast layer that a subscriber gets, 0 being the one with the lowest rate.
    pub layer: Option<usize>,
}
