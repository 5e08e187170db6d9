// Package local runs a whole group of members as child processes on loopback, formed and grown the ordinary
// way: for a first try without Kubernetes, for tests and for measurements.
package local
