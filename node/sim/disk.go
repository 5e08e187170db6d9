package sim

import (
	"errors"
	"syscall"

	"raftsman.dev/node/kv/memory"
	"raftsman.dev/node/transport"
	"raftsman.dev/node/vfs"
)

// illness is what is wrong with a host's disk. It outlives the process.
type illness struct {
	kind string
	rule vfs.Rule
	// store are the faults of the disk that its store meets.
	store []memory.Rule
	// once: the fault strikes one operation. Else it stays until it is over, or for ever.
	once, forever bool
	// full: there is no space, for a segment or at all.
	full bool
	// flushless: the store finds no space for what it flushes.
	flushless bool
	// damaged: what lies on the disk was changed, so that the start is to be refused.
	damaged bool
	// rolled: the volume is an older copy.
	rolled bool
	// lost: the data cannot be trusted, or are gone. The process stays down, and the identity is to be replaced.
	lost bool
}

func (i *illness) rules() []vfs.Rule {
	if i.rule.Err == nil {
		return nil
	}
	return []vfs.Rule{i.rule}
}

// explains reports whether an error is what the illness must lead to.
func (i *illness) explains(err error) bool {
	if i.rolled {
		return errors.Is(err, transport.ErrRolledBack) || errors.Is(err, errUnseen)
	}
	for _, r := range i.store {
		if errors.Is(err, r.Err) {
			return true
		}
	}
	return i.damaged || i.full && errors.Is(err, syscall.ENOSPC) || i.rule.Err != nil && errors.Is(err, i.rule.Err)
}

// doomed reports whether the copy is gone, or will be.
func (h *host) doomed() bool { return h.ill.lost || h.ill.damaged || h.ill.forever || h.ill.rolled }

// sicken gives the disk of a host's log an illness of its own choice.
func (h *host) sicken() {
	w := h.w
	if h.ill.kind != "" {
		return
	}
	kinds := []illness{
		{kind: "EIO once on a write", once: true, rule: vfs.Rule{Ops: vfs.OpWrite, Times: 1, Err: syscall.EIO, Torn: w.rng.IntN(2) == 0}},
		{kind: "EIO once on an fsync", once: true, rule: vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncDir, Times: 1, Err: syscall.EIO}},
		{kind: "EIO once on a read", once: true, rule: vfs.Rule{Ops: vfs.OpRead, Times: 1, Err: syscall.EIO}},
		{kind: "disk full", full: true}, {kind: "disk full", full: true},
		{kind: "no room for a segment", full: true, rule: vfs.Rule{Ops: vfs.OpCreate | vfs.OpTruncate, Err: syscall.ENOSPC}},
		{kind: "EIO for ever on writes", forever: true, rule: vfs.Rule{Ops: vfs.OpWrite, Err: syscall.EIO}},
		{kind: "EIO for ever on fsyncs", forever: true, rule: vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncDir, Err: syscall.EIO}},
		{kind: "EIO for ever on reads", forever: true, rule: vfs.Rule{Ops: vfs.OpRead, Err: syscall.EIO}},
	}
	i := pick(w, append(kinds, w.storeIllnesses()...))
	i.rule.Path = "data"
	if i.rule.Ops&(vfs.OpWrite|vfs.OpSync) != 0 && i.rule.Space == 0 {
		i.rule.After = w.rng.IntN(6)
	}
	if i.forever && !w.spare(h) {
		return
	}
	h.ill = i
	w.story.line(w, h.id, "its disk: %s", i.kind)
	h.faulty.Set(i.rules()...)
	if i.full && i.rule.Err == nil {
		h.fill()
	}
	h.ground().sicken(i.store)
	if !i.forever {
		w.after(w.between(second, 15*second), func() { h.recover(i.kind) })
	}
}

// recover ends an illness that does end.
func (h *host) recover(kind string) {
	if h.ill.kind == kind && !h.doomed() {
		h.ill = illness{}
		h.faulty.Set()
		h.ground().sicken(nil)
		h.disk.SetSize(0)
	}
}

// tear lets the power go in the middle of one of the next writes.
func (h *host) tear() {
	rule := vfs.Rule{Ops: vfs.OpChange, Path: "data", After: h.w.rng.IntN(6), Err: errPower, Torn: true}
	if h.w.rng.IntN(3) == 0 { // as names are made durable
		rule.Ops, rule.After = vfs.OpSyncDir, 0
	}
	h.faulty.Set(append(h.ill.rules(), rule)...)
}

// storeIllnesses are those of a store's disk.
func (w *World) storeIllnesses() []illness {
	once := func(kind string, ops memory.Op) illness {
		r := memory.Rule{Ops: ops, Times: 1, After: w.rng.IntN(3), Err: syscall.EIO, Done: w.rng.IntN(4) == 0}
		return illness{kind: "store: EIO once on " + kind, once: true, store: []memory.Rule{r}}
	}
	noFlush := illness{kind: "store: no space for a flush", flushless: true, store: []memory.Rule{{Ops: memory.OpFlush, Err: syscall.ENOSPC}}}
	return []illness{
		once("a commit", memory.OpCommit), once("a flush", memory.OpFlush), once("a switch", memory.OpSwitch),
		once("opening", memory.OpOpen), once("a read", memory.OpRead),
		noFlush, noFlush,
		{kind: "store: EIO for ever", forever: true, store: []memory.Rule{{Ops: memory.OpChange, Err: syscall.EIO}}},
	}
}

// tearStore lets the power go in one of the next steps of the store: of a received state, of the switch to it, of a
// commit or a flush.
func (h *host) tearStore() {
	ops := pick(h.w, []memory.Op{memory.OpSwitch, memory.OpFlush | memory.OpSwitch | memory.OpRemove | memory.OpOpen, memory.OpChange})
	r := memory.Rule{Ops: ops, After: h.w.rng.IntN(3), Err: errPower, Done: h.w.rng.IntN(2) == 0}
	h.ground().sicken(append([]memory.Rule{r}, h.ill.store...))
}

// refused is a start that has failed: for a reason that the world gave, or it is a finding.
func (h *host) refused(err error) {
	w := h.w
	if h.dir != nil {
		if cerr := h.dir.Close(); cerr != nil {
			w.fail("member %d: give back the lock: %w", h.id, cerr)
		}
		h.dir = nil
	}
	if !h.ill.explains(err) {
		w.fail("member %d boot %d: %w", h.id, h.boot, err)
		return
	}
	w.fault("start refused: " + h.ill.kind)
	w.story.line(w, h.id, "start refused: %v", err)
	h.disk = h.disk.Crash(w.rng) // what a failed start has left unsynced
	h.shelf = h.shelf.crash(w, h.standing)
	h.struck()
}

// struck is called when the illness has ended the process, or its start.
func (h *host) struck() {
	switch {
	case h.ill.once:
		h.ill = illness{}
	case h.ill.forever || h.ill.damaged:
		h.lose()
	}
}

// lose gives a copy up.
func (h *host) lose() {
	if !h.ill.lost {
		h.ill.lost = true
		h.w.fault("copy destroyed")
		h.w.story.line(h.w, h.id, "its data are lost: %s", h.ill.kind)
	}
}
