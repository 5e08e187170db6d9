//go:build !race

package kv

// cutEvery is how many changes of the disk lie between two places where the power is cut.
const cutEvery = 1
