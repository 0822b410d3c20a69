/**
 * Owns the closed list of reasons: why a packet, a connection or a message got its verdict. A reason is what counters,
 * metric labels, flow records and logs call it, so a name never changes its meaning. Source: docs of each part.
 *
 * To add one: one line here, kebab-case, with a text that an operator understands.
 */

/** Reason → what it means, as the docs print it. */
export const reasonTexts = {
  // Policy: allowed
  "rule-allow": "An allow rule matches the peer's verified identity and no deny rule does.",
  "address-allow": "An address rule allows this address, protocol and port, and none denies it.",

  // Policy: denied
  "rule-deny": "A deny rule matches the peer's verified identity; deny beats allow.",
  "no-rule":
    "Policies select this processing unit, but none of their rules allows this peer, protocol and port.",
  "no-policy":
    "No policy that selects this processing unit has a rule in this direction, and the default is deny.",
  "no-egress": "No egress rule of this processing unit can match any peer, so no token leaves for it.",
  "address-deny": "An address rule denies this address, protocol and port; deny beats allow.",
  "no-address-rule": "The peer is judged by address (no identity), and no address rule allows it.",

  // Packet: cannot be judged
  "packet-truncated": "The packet is shorter than its headers say.",
  "packet-malformed": "A length, version or offset in the IP header is impossible.",
  "packet-fragment": "A fragment that the kernel had not reassembled.",
  "packet-extension": "An IPv6 extension header that is unknown, repeated out of order or too long a chain.",
  "packet-options": "TCP or IP options are malformed or their lengths do not add up.",
  "packet-address":
    "A port 0, a source route, or an IPv4-mapped address in an IPv6 header: nothing a pod may send or get.",
  "packet-flags": "A combination of TCP flags that no stack sends.",
  "packet-checksum": "A checksum is wrong.",
  "protocol-unsupported": "An IP protocol that cannot be judged.",
  "packet-too-big": "The packet with its handshake message exceeds the path's MTU.",
  "options-full": "The TCP options have no room for what the handshake must add.",

  // Handshake: the message
  "token-missing": "The peer's address is inside the managed networks and its segment carries no token.",
  "message-malformed": "The handshake message cannot be decoded.",
  "message-type": "A handshake message of a type that is unknown or unexpected here.",
  "version-unsupported":
    "No protocol version is common to both ends, or the answer's is not one that was offered.",
  "suite-unsupported": "No suite is common to both ends, or the answer's is not one that was offered.",
  "flags-unknown": "The handshake message has a flag set that this version does not know.",
  "extension-unknown": "The handshake message has a critical extension that this version does not know.",

  // Handshake: the identity
  "token-malformed": "The token cannot be decoded.",
  "token-algorithm": "The token's header names another algorithm than the suite demands.",
  "token-signature": "The token's signature or MAC is wrong.",
  "token-expired": "The token has expired, beyond the allowed clock skew.",
  "token-not-yet-valid": "The token is not valid yet, beyond the allowed clock skew.",
  "token-lifetime": "The token's lifetime is longer than allowed.",
  "token-trust-domain": "The token belongs to another trust domain.",
  "token-attributes": "The token's attributes are malformed or exceed what its certificate may assert.",
  "token-key": "The token's public key is malformed or not acceptable.",
  "token-unavailable": "This processing unit has no valid token of its own to send.",
  "certificate-missing": "The suite demands a certificate and none came.",
  "certificate-unexpected": "A certificate came where the suite has none, or more than the one it has.",
  "certificate-malformed": "The certificate cannot be decoded.",
  "certificate-algorithm": "The certificate's header names another algorithm than the suite demands.",
  "certificate-limits": "The certificate's list of what it may assert has a form that is not supported.",
  "certificate-signature": "The certificate's signature is wrong.",
  "certificate-expired": "The certificate has expired, beyond the allowed clock skew.",
  "certificate-not-yet-valid": "The certificate is not valid yet, beyond the allowed clock skew.",
  "certificate-trust-domain": "The certificate belongs to another trust domain.",
  "ca-unknown": "No trusted CA key has the id that the certificate names.",
  "psk-unknown": "No pre-shared key has the id that the token names.",
  "key-agreement": "The key agreement failed or gave the all-zero secret.",

  // Handshake: proofs and state
  "tag-invalid": "The proof of this handshake is wrong.",
  "tag-missing": "A segment of a half-open connection carries no proof.",
  "address-relayed":
    "The server saw the connection come from an address that is neither ours nor a translator's.",
  "ack-unexpected": "The acknowledgement number does not belong to a pending SYN.",
  "no-connection": "The segment belongs to no authorised connection and no handshake in hand.",
  "simultaneous-open": "Simultaneous open and split handshakes are refused.",
  "reset-invalid": "A reset that belongs to nothing, or has data or a wrong acknowledgement.",
  "icmp-unrelated": "An ICMP error that quotes no connection of ours.",
  "connection-expired": "The handshake was not finished in time.",
  "connection-evicted": "A handshake that was not finished made room for a newer one.",
  "table-full": "A table of connections has reached its configured size.",

  // Resources
  "hold-full": "Too many packets are held for verification.",
  "hold-expired": "Verification took longer than a packet may be held.",
  "budget-spent": "The budget of verifications, per source or in total, is spent.",
  "queue-overflow": "The kernel's queue was full and dropped packets.",
  "queue-error": "The kernel or the queue socket reported an error.",
  "unit-unknown": "The packet belongs to no registered processing unit.",
  "internal-error": "A defect in the enforcer; the packet is dropped. Please report it.",
} as const;

/** Why something got its verdict. Also the metric label. */
export type Reason = keyof typeof reasonTexts;

/** All reasons, in the order of the docs. */
export const reasons = Object.keys(reasonTexts) as readonly Reason[];
