// Package certs keeps the certificates of one port and follows their files while the member runs.
//
// Two things are followed, each by itself: the pair of certificate and key, and the bundle of authorities whose
// certificates clients must present. A handshake looks at the files first, at most once a second, by content: what
// mounts a Kubernetes Secret swaps symbolic links, so neither names nor times tell. What is found changed is read
// again, and is judged only if both readings agree, so that files caught in the midst of a swap are left for the next
// look. What cannot be used (half a pair written, a file cut short, garbage, a file that is gone) is reported once,
// and what was in force before stays in force: a handshake never fails for it.
//
// Connections that are open stay so, whatever their certificate has become since. Sessions are not resumed: every
// handshake is held to the authorities in force at that moment.
//
// A member that sends a request on to the leader's client address is that port's client. It presents its own
// certificate, which under mutual TLS must therefore be one of the clients' authorities and allow the usages of server
// and client. It trusts a leader that presents
//   - the certificate that the member itself has, whatever the name on it: only a holder of the same key can use it; so
//     one self-signed certificate will do for a whole group;
//   - or one for the host of the leader's URL, of the bundle's authorities or of those that the system trusts.
package certs
