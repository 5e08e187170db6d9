package sim

import (
	"fmt"

	"raftsman.dev/node/raft"
)

// story is the run for people: one aligned line for every change of state.
type story struct{ tell func(string) }

func (s *story) line(w *World, at raft.MemberID, format string, args ...any) {
	if s.tell == nil {
		return
	}
	who := "world"
	if at != 0 {
		who = fmt.Sprintf("m%d", at)
	}
	s.tell(fmt.Sprintf("%5d.%06d  %-5s  %s", w.now/second, w.now%second, who, fmt.Sprintf(format, args...)))
}
