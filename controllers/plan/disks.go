package plan

import (
	"fmt"
	"slices"
	"strings"

	api "raftsman.dev/api/v1alpha1"
)

// What a disk can be, in status.
const (
	diskOK      = "ok"
	diskFilling = "filling"
	diskLow     = "low"
	diskFull    = "full"
)

// state is how a disk is that was in another state before. What began to fill up has to get half as much again to count
// as recovered, so that nothing flickers.
func (d *Disk) state(before string) string {
	bound := 2 * d.LowBytes
	if before != "" && before != diskOK {
		bound += d.LowBytes
	}
	switch {
	case d.Out:
		return diskFull
	case d.Low:
		return diskLow
	case d.FreeBytes < bound:
		return diskFilling
	}
	return diskOK
}

// disks fills in how the members' disks are. What they were before says only where the bounds lie.
func disks(list, before []api.MemberStatus, seen Observation) {
	for i := range list {
		m := &list[i]
		p, ok := seen.pod(m.Name)
		if !ok || p.Report == nil || p.Report.Disk == nil || p.Report.Member != m.ID {
			continue
		}
		was := ""
		if j := slices.IndexFunc(before, func(b api.MemberStatus) bool { return b.Name == m.Name && b.ID == m.ID }); j >= 0 {
			was = before[j].Disk
		}
		m.Disk = p.Report.Disk.state(was)
	}
}

// shortage says which disks fill up, and what to do; empty when none does.
func shortage(list []api.MemberStatus, seen Observation) string {
	var short []string
	for _, m := range list {
		if m.Disk != "" && m.Disk != diskOK {
			short = append(short, fmt.Sprintf("%s is %s", m.Name, m.Disk))
		}
	}
	refused := slices.ContainsFunc(seen.Pods, func(p Pod) bool { return seen.ours(p) && p.Report.Quorate && p.Report.NoSpace })
	if len(short) == 0 && !refused {
		return ""
	}
	says := "too little space is left on the disks"
	if len(short) > 0 {
		says = "the disk of " + strings.Join(short, ", of ")
	}
	if refused {
		says += ", and writes are refused"
	}
	return says + ": raise storage.size, or delete and compact data"
}

// lost says that the cluster has served clients, should be up, and has no leader with a quorum behind it.
func (o Observation) lost(want Spec) bool {
	_, led := o.Leader()
	return o.Latched.Initialized && !led && want.Replicas > 0 && !want.Deleting
}

// remains fills in how far the members' disks have come. Of one that has fallen silent the newest that was known stays.
func remains(list, before []api.MemberStatus, seen Observation) {
	for i := range list {
		m := &list[i]
		if p, ok := seen.pod(m.Name); ok && p.Report != nil && p.Report.Member == m.ID {
			r := p.Report
			m.Remains = &api.MemberRemains{Boot: int64(r.Boot), Term: int64(r.Term), LastIndex: int64(r.Last), CommitIndex: int64(r.Commit)}
			continue
		}
		if c, ok := seen.claim(m.Name); ok && m.ID == "" {
			m.ID = c.Member
		}
		if j := slices.IndexFunc(before, func(b api.MemberStatus) bool { return b.Name == m.Name && b.ID == m.ID }); j >= 0 {
			m.Remains = before[j].Remains
		}
	}
}

// inventory says what is known of every disk, for the person who has to decide what to do without a quorum.
func inventory(want Spec, seen Observation) string {
	size := seen.Set.Replicas
	if m := seen.Membership(); m != nil {
		size = max(size, m.pods(want))
	}
	var known []string
	for n := range size {
		known = append(known, holding(seen, want.Pod(n)))
	}
	return strings.Join(known, "; ")
}

// holding says what is known of one Pod's disk: from its member, or else from what is written on its claim.
func holding(seen Observation, name string) string {
	p, there := seen.pod(name)
	if there && p.Report != nil {
		r := p.Report
		at := fmt.Sprintf("boot %d, term %d, log to %d, committed to %d", r.Boot, r.Term, r.Last, r.Commit)
		switch r.State {
		case Unjoined:
			return fmt.Sprintf("%s is empty and new, as %s", name, r.Member)
		case Joined:
			return fmt.Sprintf("%s holds member %s: %s", name, r.Member, at)
		}
		return fmt.Sprintf("%s holds member %s, %s: %s%s", name, r.Member, r.State, at, because(r.Problem))
	}
	says := name + " has no Pod"
	if there {
		says = fmt.Sprintf("%s does not answer%s", name, because(p.Silence))
	}
	switch c, ok := seen.claim(name); {
	case !ok:
		return says + ", and has no volume"
	case c.Member != "":
		return fmt.Sprintf("%s, and its volume %s holds member %s", says, c.Name, c.Member)
	default:
		return fmt.Sprintf("%s, and whose its volume %s is, is not known", says, c.Name)
	}
}
