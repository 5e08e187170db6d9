// Package admin is all that the operator sees of a member: its status and the few requests that change
// membership, as JSON over HTTP on the admin port. It holds the types, the handler and the client, and
// imports nothing of the member.
package admin
