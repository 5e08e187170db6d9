//go:build race

package node

// crowdShare makes the crowd of watchers smaller where the race detector makes everything slower.
const crowdShare = 5
