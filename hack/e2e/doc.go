// Package e2e holds the end-to-end tests: Raftsman on a real Kubernetes of several nodes, under a recorded
// client load, while containers, Pods, volumes, links and the operator itself are taken away. It has no code
// of its own; `make e2e` runs it, as root on Linux.
package e2e
