// Package kv is the multi-version store: commands in, results out. It knows no Raft: it is told the
// log index and term of what it applies and stores them with the data they cover.
//
// Every member applies the same commands in the same order to equal logical state. Anything local
// (clock, random numbers, map order) stays outside this package.
package kv
