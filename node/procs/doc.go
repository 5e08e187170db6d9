// Package procs decides how many processors Go's scheduler gets.
//
// With few clients a member is a chain of goroutines that wake each other, one at a time. Where a second processor is
// idle the scheduler wakes a thread on it for each of them, which finds nothing left to do: a tenth and more of all that
// a member uses. With one processor nothing of that happens, but as soon as there is work for two, whoever is ready waits
// for whoever works. So a member has one processor while goroutines that are ready hardly ever wait for it, and all of
// them as soon as they do, or as soon as one is nearly used up.
package procs
