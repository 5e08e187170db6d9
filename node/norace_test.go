//go:build !race

package node

// crowdShare is the part of the crowd of watchers that there is: all of it.
const crowdShare = 1
