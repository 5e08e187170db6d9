// Package torture does to real processes of the production binary what the world does to them: it kills all of
// them at once, over and over, damages their files, lets their disks hang, fail and fill up. Three members on
// loopback bear a recorded client load meanwhile, and its history is judged: it is linearizable, and nothing
// acknowledged is lost. It has no code of its own; `make torture` runs it, as root on Linux, in a mount and process
// namespace of its own, so that no process and no mount outlives it however it ends.
package torture
