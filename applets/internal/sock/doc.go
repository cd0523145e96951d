// Package sock is where sockbox meets the network: what an address may be, how
// it is listened on and dialled, what an inherited descriptor is, who may come
// in, and what the kernel says about bytes on their way.
//
// Errors read "subject: reason", as "127.0.0.1:9: connection refused": the
// subject is the address as it is written, the reason comes from the system and
// stays reachable through errors.Is and errors.As.
package sock
