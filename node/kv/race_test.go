//go:build race

package kv

// cutEvery thins out the places where the power is cut: under the race detector Pebble checks itself at every turn,
// which takes ten times as long.
const cutEvery = 4
