package kv

import (
	"encoding/binary"
	"fmt"
)

// Bounds and constants of a command's byte form (see the package doc). Frozen.
const (
	commandVersion = 1 // of transactions and of the opening; everything else is of leaseVersion
	leaseVersion   = 2
	maxNesting     = 256
	maxListed      = 1 << 16

	bodyTxn, bodyOpen, bodyCompact, bodyGrant, bodyRevoke, bodyCheckpoint = 0, 1, 2, 3, 4, 5

	opRange, opPut, opDelete, opTxn = 1, 2, 3, 4

	flagPrevKV, flagIgnoreValue, flagIgnoreLease = 1, 2, 4
	flagKeysOnly, flagCountOnly                  = 1, 2
)

// Check reports why a command cannot travel: then no member could decode it, and none may propose it. The error
// matches ErrMalformed.
func (c *Command) Check() error {
	set := 0
	for _, is := range []bool{c.Open, c.Compact != nil, c.Grant != nil, c.Revoke != nil, c.Checkpoint != nil} {
		if is {
			set++
		}
	}
	switch {
	case set > 1:
		return fmt.Errorf("command of %d kinds at once: %w", set, ErrMalformed)
	case c.Revoke != nil && len(c.Revoke.Leases) > maxListed, c.Checkpoint != nil && len(c.Checkpoint.Leases) > maxListed:
		return fmt.Errorf("command about more than %d leases: %w", maxListed, ErrMalformed)
	case set == 1:
		return nil
	}
	return c.Txn.check(0)
}

func (t *Txn) check(depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("transactions nested more than %d deep: %w", maxNesting, ErrMalformed)
	}
	if max(len(t.Compares), len(t.Success), len(t.Failure)) > maxListed {
		return fmt.Errorf("transaction of more than %d operations: %w", maxListed, ErrMalformed)
	}
	for i := range t.Compares {
		if !t.Compares[i].known() {
			return fmt.Errorf("compare %d of an unknown kind: %w", i, ErrMalformed)
		}
	}
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for i := range ops {
			if err := ops[i].check(depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Op) check(depth int) error {
	fields := 0
	for _, set := range []bool{o.Range != nil, o.Put != nil, o.Delete != nil, o.Txn != nil} {
		if set {
			fields++
		}
	}
	switch {
	case fields != 1:
		return fmt.Errorf("operation with %d fields set instead of one: %w", fields, ErrMalformed)
	case o.Range != nil && !o.Range.known():
		return fmt.Errorf("range of an unknown order: %w", ErrMalformed)
	case o.Txn != nil:
		return o.Txn.check(depth + 1)
	}
	return nil
}

func (c *Compare) known() bool { return c.Target <= CompareLease && c.Result <= CompareNotEqual }

func (r *RangeRequest) known() bool { return r.Order <= SortDescend && r.Target <= SortByValue }

// AppendTo appends the byte form of a command that passes Check to dst.
func (c *Command) AppendTo(dst []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, 64+c.Txn.size())
	}
	kind := c.kind()
	dst = append(dst, versionOf(kind))
	for _, v := range []uint64{c.ID.Origin, c.ID.Boot, c.ID.Seq, c.Floor} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = append(dst, kind)
	switch kind {
	case bodyTxn:
		dst = appendTxn(dst, &c.Txn)
	case bodyCompact:
		dst = binary.AppendVarint(dst, int64(c.Compact.Revision))
	case bodyGrant:
		dst = binary.AppendVarint(binary.AppendVarint(dst, c.Grant.ID), c.Grant.TTL)
	case bodyRevoke:
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, c.Revoke.Term), c.Revoke.Seen)
		dst = binary.AppendUvarint(dst, uint64(len(c.Revoke.Leases)))
		for _, id := range c.Revoke.Leases {
			dst = binary.AppendVarint(dst, id)
		}
	case bodyCheckpoint:
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, c.Checkpoint.Term), c.Checkpoint.Seen)
		dst = binary.AppendUvarint(dst, uint64(len(c.Checkpoint.Leases)))
		for _, l := range c.Checkpoint.Leases {
			dst = binary.AppendVarint(binary.AppendVarint(dst, l.ID), l.Remaining)
		}
	}
	return dst
}

func (c *Command) kind() byte {
	switch {
	case c.Open:
		return bodyOpen
	case c.Compact != nil:
		return bodyCompact
	case c.Grant != nil:
		return bodyGrant
	case c.Revoke != nil:
		return bodyRevoke
	case c.Checkpoint != nil:
		return bodyCheckpoint
	}
	return bodyTxn
}

// versionOf is the version of the program's format that brought a kind of command.
func versionOf(kind byte) byte {
	if kind > bodyOpen {
		return leaseVersion
	}
	return commandVersion
}

// size estimates the bytes of keys and values, so that most commands are encoded in one allocation.
func (t *Txn) size() int {
	n := 0
	for _, op := range t.Success {
		if op.Put != nil {
			n += len(op.Put.Key) + len(op.Put.Value) + 16
		}
	}
	return n
}

func appendTxn(b []byte, t *Txn) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.Compares)))
	for i := range t.Compares {
		c := &t.Compares[i]
		b = append(b, byte(c.Target), byte(c.Result))
		b = appendBytes(appendBytes(b, c.Key), c.End)
		b = appendBytes(binary.AppendVarint(b, c.Number), c.Value)
	}
	b = appendOps(b, t.Success)
	return appendOps(b, t.Failure)
}

func appendOps(b []byte, ops []Op) []byte {
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for i := range ops {
		switch op := &ops[i]; {
		case op.Range != nil:
			b = appendRange(append(b, opRange), op.Range)
		case op.Put != nil:
			p := op.Put
			b = append(b, opPut, flags(p.PrevKV, p.IgnoreValue, p.IgnoreLease))
			b = binary.AppendVarint(appendBytes(appendBytes(b, p.Key), p.Value), p.Lease)
		case op.Delete != nil:
			b = append(b, opDelete, flags(op.Delete.PrevKV))
			b = appendBytes(appendBytes(b, op.Delete.Key), op.Delete.End)
		case op.Txn != nil:
			b = appendTxn(append(b, opTxn), op.Txn)
		}
	}
	return b
}

func appendRange(b []byte, r *RangeRequest) []byte {
	b = append(b, flags(r.KeysOnly, r.CountOnly), byte(r.Order), byte(r.Target))
	b = appendBytes(appendBytes(b, r.Key), r.End)
	for _, v := range []int64{r.Limit, int64(r.Revision), int64(r.MinMod), int64(r.MaxMod), int64(r.MinCreate), int64(r.MaxCreate)} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func flags(bits ...bool) byte {
	var f byte
	for i, set := range bits {
		if set {
			f |= 1 << i
		}
	}
	return f
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

// IDOf is the ID of an encoded command; the zero ID of what is none.
func IDOf(b []byte) CommandID {
	d := decoder{b: b}
	d.byte()
	id := CommandID{Origin: d.uvarint(), Boot: d.uvarint(), Seq: d.uvarint()}
	if d.bad {
		return CommandID{}
	}
	return id
}

// DecodeCommand reads what AppendTo wrote; keys and values alias b. Errors match ErrMalformed.
func DecodeCommand(b []byte) (Command, error) {
	d := decoder{b: b}
	var c Command
	version := d.byte()
	if version > leaseVersion && !d.bad {
		return c, fmt.Errorf("command of version %d, this program knows %d: %w", version, leaseVersion, ErrMalformed)
	}
	c.ID = CommandID{Origin: d.uvarint(), Boot: d.uvarint(), Seq: d.uvarint()}
	c.Floor = d.uvarint()
	kind := d.byte()
	d.body(&c, kind)
	if d.bad || len(d.b) != 0 || version != versionOf(kind) {
		return Command{}, fmt.Errorf("command of %d bytes: %w", len(b), ErrMalformed)
	}
	return c, nil
}

// body reads what a command of that kind is about.
func (d *decoder) body(c *Command, kind byte) {
	switch kind {
	case bodyTxn:
		c.Txn = d.txn(0)
	case bodyOpen:
		c.Open = true
	case bodyCompact:
		c.Compact = &Compaction{Revision: Revision(d.varint())}
	case bodyGrant:
		c.Grant = &Lease{ID: d.varint(), TTL: d.varint()}
	case bodyRevoke:
		c.Revoke = &Revocation{Term: d.uvarint(), Seen: d.uvarint()}
		for n := d.count(); n > 0 && !d.bad; n-- {
			c.Revoke.Leases = append(c.Revoke.Leases, d.varint())
		}
	case bodyCheckpoint:
		c.Checkpoint = &Checkpoint{Term: d.uvarint(), Seen: d.uvarint()}
		for n := d.count(); n > 0 && !d.bad; n-- {
			c.Checkpoint.Leases = append(c.Checkpoint.Leases, Lease{ID: d.varint(), Remaining: d.varint()})
		}
	default:
		d.bad = true
	}
}

// flags reads a byte of which only the given bits may be set.
func (d *decoder) flags(known byte) byte {
	v := d.byte()
	d.bad = d.bad || v&^known != 0
	return v
}

// decoder takes bounded values off the front of a slice; after the first that does not fit it is bad and
// gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if d.bad || len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	if n == 0 {
		return nil
	}
	return v
}

// count reads a list's length; each element takes at least one byte, so it cannot exceed what is left.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) || n > maxListed {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) txn(depth int) Txn {
	var t Txn
	if depth > maxNesting {
		d.bad = true
		return t
	}
	for n := d.count(); n > 0 && !d.bad; n-- {
		c := Compare{Target: CompareTarget(d.byte()), Result: CompareResult(d.byte()), Key: d.bytes(), End: d.bytes(), Number: d.varint(), Value: d.bytes()}
		d.bad = d.bad || !c.known()
		t.Compares = append(t.Compares, c)
	}
	t.Success = d.ops(depth)
	t.Failure = d.ops(depth)
	return t
}

func (d *decoder) ops(depth int) []Op {
	n := d.count()
	if n == 0 {
		return nil
	}
	ops := make([]Op, 0, min(n, 128))
	for ; n > 0 && !d.bad; n-- {
		switch d.byte() {
		case opRange:
			ops = append(ops, Op{Range: d.rangeRequest()})
		case opPut:
			f := d.flags(flagPrevKV | flagIgnoreValue | flagIgnoreLease)
			ops = append(ops, Op{Put: &PutRequest{
				PrevKV: f&flagPrevKV != 0, IgnoreValue: f&flagIgnoreValue != 0, IgnoreLease: f&flagIgnoreLease != 0,
				Key: d.bytes(), Value: d.bytes(), Lease: d.varint(),
			}})
		case opDelete:
			ops = append(ops, Op{Delete: &DeleteRequest{PrevKV: d.flags(flagPrevKV) != 0, Key: d.bytes(), End: d.bytes()}})
		case opTxn:
			t := d.txn(depth + 1)
			ops = append(ops, Op{Txn: &t})
		default:
			d.bad = true
		}
	}
	return ops
}

func (d *decoder) rangeRequest() *RangeRequest {
	f := d.flags(flagKeysOnly | flagCountOnly)
	r := &RangeRequest{
		KeysOnly: f&flagKeysOnly != 0, CountOnly: f&flagCountOnly != 0,
		Order: SortOrder(d.byte()), Target: SortTarget(d.byte()), Key: d.bytes(), End: d.bytes(), Limit: d.varint(),
		Revision: Revision(d.varint()), MinMod: Revision(d.varint()), MaxMod: Revision(d.varint()),
		MinCreate: Revision(d.varint()), MaxCreate: Revision(d.varint()),
	}
	d.bad = d.bad || !r.known()
	return r
}
