package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// minor is a release as far as upgrades are concerned: patches of one minor work together in any order.
type minor struct{ major, minor uint64 }

// String is how people write it.
func (m minor) String() string { return fmt.Sprintf("%d.%d", m.major, m.minor) }

// minorOf reads a semantic version; ok is false for anything else.
func minorOf(version string) (m minor, ok bool) {
	core, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return minor{}, false
	}
	var n [3]uint64
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return minor{}, false
		}
		n[i] = v
	}
	return minor{n[0], n[1]}, true
}

// follows says that m comes right after an earlier minor: the next one, or the first of the next major.
func (m minor) follows(o minor) bool {
	return m.major == o.major && m.minor == o.minor+1 || m.major == o.major+1 && m.minor == 0
}

// before says that m is older.
func (m minor) before(o minor) bool {
	return m.major < o.major || m.major == o.major && m.minor < o.minor
}

// Refusal is why the members must not be taken to a version, empty when they may. A minor may not be skipped, because
// members speak to those of the next minor only; and there is no going back, because an older program may not read what
// a newer one wrote. What some member runs already may be rolled on to, and back to while an upgrade is half done:
// nothing new may be in use yet. A version that nobody can read, of the image or of a member, forbids nothing.
func Refusal(version string, seen Observation) string {
	to, ok := minorOf(version)
	if !ok {
		return ""
	}
	skipped, newer := "", ""
	for _, r := range seen.running() {
		from, ok := minorOf(r.version)
		switch {
		case !ok:
		case from == to:
			return "" // what has been begun is finished
		case to.before(from):
			newer = fmt.Sprintf("version %s is refused: %s runs %s, no member runs %s any more, and there is no way back; name an image of %s or later",
				version, r.who, r.version, to, from)
		case !to.follows(from):
			skipped = fmt.Sprintf("version %s is refused: %s runs %s, and no minor version may be skipped; go to the one after %s first",
				version, r.who, r.version, from)
		}
	}
	if skipped != "" {
		return skipped
	}
	return newer
}

// release is a version and who runs it.
type release struct{ who, version string }

// running are the versions that the cluster's data is in the hands of: what its members say, and for one that is out
// of reach but ready, what its image is called. A Pod that has never served counts for nothing, so that a bad image can
// be taken back, and neither does a cluster that was never opened to clients. While all Pods are stopped it is the
// template's.
func (o Observation) running() []release {
	var all []release
	for _, p := range o.Pods {
		switch {
		case p.Report != nil && p.Report.State == Joined && (o.Latched.Initialized || p.Report.Open):
			all = append(all, release{p.Name, p.Report.Version})
		case p.Report == nil && p.Ready:
			all = append(all, release{p.Name, p.Version})
		}
	}
	if len(o.Pods) == 0 && o.Latched.Hibernated > 0 && o.Set != nil {
		all = append(all, release{"the hibernated cluster", o.Set.Version})
	}
	return all
}

// frozen is the observation in which no Pod is of an old revision: nothing is rolled to a template whose version the
// members must not be taken to.
func (o Observation) frozen() Observation {
	if o.Set == nil || Refusal(o.Set.Version, o) == "" {
		return o
	}
	pods := make([]Pod, len(o.Pods))
	for i, p := range o.Pods {
		p.Revision = o.Set.Revision
		pods[i] = p
	}
	o.Pods = pods
	return o
}
