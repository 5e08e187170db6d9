package plan

import (
	"slices"
	"strconv"
)

// fault is one thing that happens to a world and that the planner has to live with. It leaves a majority its data. It
// says whether it could happen just now.
type fault struct {
	name string
	do   func(w *world, n int) bool
}

// faults are drawn evenly; those that are there twice happen more often.
func faults() []fault {
	return []fault{
		{"another size", (*world).size}, {"another size", (*world).size},
		{"another template", func(w *world, _ int) bool { w.template(w.id("r"), false); return true }},
		{"another version", (*world).upgrade}, {"another version", (*world).upgrade},
		{"a bad template", func(w *world, _ int) bool { w.template(w.id("r"), true); return true }},
		{"larger volumes", (*world).store},
		{"volumes may not grow, or may again", func(w *world, _ int) bool { w.rigid = !w.rigid; return true }},
		{"a member is to be replaced", (*world).move},
		{"a Pod is deleted", (*world).kill},
		{"a disk is lost", (*world).lose}, {"a disk is lost", (*world).lose},
		{"a disk is damaged", (*world).damage},
		{"a Pod is silent, or heard again", func(w *world, n int) bool { w.silent[n] = !w.silent[n]; return true }},
		{"a claim is deleted", (*world).unclaim},
		{"the StatefulSet is lowered", (*world).lower},
		{"hibernation", (*world).sleep},
		{"the status is lost", (*world).forget},
		{"an object is deleted", (*world).unmake},
		{"paused, or not any more", func(w *world, _ int) bool { w.want.Paused = !w.want.Paused; w.version++; return true }},
		{"the RaftCluster is deleted", (*world).delete},
	}
}

// strike lets one fault happen.
func (w *world) strike(all []fault) {
	f := all[w.rng.IntN(len(all))]
	n := w.rng.IntN(max(1, count(w.pods)))
	if !w.want.Deleting && f.do(w, n) {
		w.seen.faults[f.name]++
		w.note("    fault: %s (%d)", f.name, n)
	}
}

func (w *world) size(int) bool {
	w.want.Replicas = []int32{1, 3, 5, 7}[w.rng.IntN(4)]
	w.version++
	return true
}

// template gives the spec another Pod template.
func (w *world) template(revision string, bad bool) {
	if bad {
		w.bad = append(w.bad, revision)
	}
	w.revision, w.stale = revision, true
	w.version++
}

// upgrade asks for another version, one that is refused among them.
func (w *world) upgrade(int) bool {
	at := w.minor
	if newest, ok := w.newest(); ok {
		at = newest
	}
	w.call(max(0, at+w.rng.IntN(5)-2))
	w.template(w.id("r"), w.rng.IntN(6) == 0)
	return true
}

// call gives the spec's image another minor.
func (w *world) call(minor int) { w.minor, w.want.Version = minor, version(minor) }

func (w *world) kill(n int) bool {
	if w.pods[n] == nil {
		return false
	}
	w.pods[n].leaving = true
	return true
}

func (w *world) lose(n int) bool {
	if !w.healthy() || w.pods[n] == nil {
		return false
	}
	w.pods[n].leaving, w.claims[n].leaving = true, true
	return true
}

func (w *world) damage(n int) bool {
	if !w.healthy() || w.pods[n] == nil || w.served == nil {
		return false
	}
	w.claims[n].corrupt = true
	return true
}

func (w *world) unclaim(n int) bool {
	if !w.healthy() || w.pods[n] == nil || w.served == nil {
		return false
	}
	w.claims[n].leaving = true
	return true
}

func (w *world) lower(int) bool {
	if w.set == nil || w.set.Replicas < 2 || w.served == nil {
		return false
	}
	w.set.Replicas = int32(w.rng.IntN(int(w.set.Replicas)))
	return true
}

func (w *world) sleep(int) bool {
	if w.served == nil || w.rng.IntN(2) == 0 {
		return false
	}
	w.want.Replicas = 0
	w.version++
	return true
}

// forget is an object restored from its manifest while its disks live.
func (w *world) forget(int) bool {
	if w.served == nil {
		return false
	}
	w.latched = Latched{}
	w.version++
	return true
}

func (w *world) unmake(int) bool {
	if w.set == nil {
		return false
	}
	if w.rng.IntN(2) == 0 {
		w.guard = nil
	} else {
		w.set = nil
	}
	w.stale = true
	return true
}

func (w *world) delete(int) bool {
	if w.served == nil || w.rng.IntN(3) > 0 {
		return false
	}
	w.want.Deleting, w.going = true, 4
	w.version++
	return true
}

// healthy says that a disk may be lost without losing what the group has written.
func (w *world) healthy() bool {
	g := w.truth()
	if g == nil {
		return w.served == nil
	}
	voters := 0
	for _, e := range g.now.Members {
		if e.Voter {
			voters++
		}
	}
	if g.now.Joint || voters < 3 {
		return false
	}
	for _, c := range w.claims {
		if c != nil && c.leaving {
			return false
		}
	}
	up := w.living(g)
	return !slices.ContainsFunc(g.now.Members, func(e Member) bool { return e.Voter && !up.has(e.ID) })
}

// yield is a person who gives up a version that was refused.
func (w *world) yield() {
	at := 0
	for _, r := range w.observe().seen.running() {
		at = max(at, minorIn(r.version))
	}
	w.call(at)
	w.template(w.id("r"), false)
}

// heal ends all faults.
func (w *world) heal() {
	w.silent, w.rigid = [slots]bool{}, false
	if slices.Contains(w.bad, w.revision) {
		w.template(w.id("r"), false)
	}
	w.want.Paused = false
	if w.want.Replicas == 0 {
		w.want.Replicas = 3
	}
	if w.want.Replicas < 3 {
		w.want.Replace = "" // nobody can be done without
	}
	w.version++
	w.note("    healed: replicas %s", strconv.Itoa(int(w.want.Replicas)))
}
