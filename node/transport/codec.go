package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"raftsman.dev/node/raft"
)

const (
	frameHeader = 12
	maxFrame    = 64 << 20
)

// The kinds of frame, frozen.
const (
	frameVoteRequest uint8 = iota + 1
	frameVoteReply
	frameAppend
	frameAppendReply
	frameHeartbeat
	frameHeartbeatReply
	frameTimeoutNow
	frameForward
	frameForwardRefused
	frameReadRequest
	frameReadReply
	frameStranger
	frameRepairRequest
	frameRepairReply
	frameSnapshotRequest
)

// ErrFrame marks bytes that are not a frame.
var ErrFrame = errors.New("malformed frame")

// envelope is what every body begins with; the bodies below are msgpack arrays of their fields.
type envelope struct {
	//lint:ignore U1000 the library reads this tag: it makes the body an array
	_struct  bool `codec:",toarray"`
	Term     uint64
	FromBoot uint64
	ToBoot   uint64
	A, B, C  uint64 // numbers of the kind
	Flags    uint8
	Raw      []byte   // entries in their byte form; of proposals, for each, whether it grows
	Refs     []uint64 // proposals or refusals; a point of attestation, its index and its sum
	Payloads [][]byte
}

// encoder turns messages into frames in one growing buffer.
type encoder struct {
	buf  bytes.Buffer
	enc  *codec.Encoder
	env  envelope
	raw  []byte
	refs []uint64
	pays [][]byte
}

func newEncoder() *encoder {
	e := &encoder{}
	e.enc = codec.NewEncoder(&e.buf, handle())
	return e
}

func handle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.WriteExt = true
	return h
}

// add appends a message's frame; a message that cannot travel is an error and adds nothing.
func (e *encoder) add(m raft.Message) error {
	start := e.buf.Len()
	kind, err := e.fill(m)
	if err != nil {
		return err
	}
	e.buf.Write(make([]byte, frameHeader))
	if err := e.enc.Encode(&e.env); err != nil {
		e.buf.Truncate(start)
		return fmt.Errorf("encode %T: %w", m.Body, err)
	}
	b := e.buf.Bytes()[start:]
	if len(b)-frameHeader > maxFrame {
		e.buf.Truncate(start)
		return fmt.Errorf("%T of %d bytes is over the bound of %d: %w", m.Body, len(b), maxFrame, ErrFrame)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHeader))
	b[4] = kind
	binary.LittleEndian.PutUint32(b[8:], frameSum(b[:8], b[frameHeader:]))
	return nil
}

func frameSum(head, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli()), castagnoli(), body)
}

func bit(flags ...bool) uint8 {
	var f uint8
	for i, set := range flags {
		if set {
			f |= 1 << i
		}
	}
	return f
}

func (e *encoder) fill(m raft.Message) (kind uint8, err error) {
	v := &e.env
	*v = envelope{Term: uint64(m.Term), FromBoot: uint64(m.FromBoot), ToBoot: uint64(m.ToBoot)}
	switch b := m.Body.(type) {
	case raft.VoteRequest:
		v.Flags, v.A, v.B, v.C = bit(b.Pre, b.Transfer), b.Campaign, uint64(b.Last.Index), uint64(b.Last.Term)
		return frameVoteRequest, nil
	case raft.VoteReply:
		v.Flags, v.A = bit(b.Pre, b.Granted), b.Campaign
		return frameVoteReply, nil
	case raft.Append:
		v.A, v.B, v.C = uint64(b.Prev.Index), uint64(b.Prev.Term), uint64(b.Commit)
		v.Raw = e.entries(b.Entries)
		return frameAppend, nil
	case raft.AppendReply:
		v.Flags, v.A, v.B, v.C = bit(b.Rejected), uint64(b.Match), uint64(b.Hint.Index), uint64(b.Hint.Term)
		return frameAppendReply, nil
	case raft.Heartbeat:
		v.Flags, v.A, v.B = bit(b.Space.Low, b.Space.Out, b.Diverged, b.Quiet), uint64(b.Commit), b.Read
		e.fillPoint(b.Point)
		return frameHeartbeat, nil
	case raft.HeartbeatReply:
		v.Flags, v.A = bit(b.Space.Low, b.Space.Out, b.Unwatched), b.Read
		e.fillPoint(b.Point)
		return frameHeartbeatReply, nil
	case raft.TimeoutNow:
		return frameTimeoutNow, nil
	}
	if kind := e.fillRepair(m.Body); kind != 0 {
		return kind, nil
	}
	return e.fillRequest(m.Body)
}

// entries puts entries behind each other in their byte form.
func (e *encoder) entries(entries []raft.Entry) []byte {
	e.raw = e.raw[:0]
	for i := range entries {
		e.raw = entries[i].AppendTo(e.raw)
	}
	return e.raw
}

// fillPoint fills in a point of attestation; none takes no room.
func (e *encoder) fillPoint(p raft.Point) {
	if p.Index != 0 {
		e.refs = append(e.refs[:0], uint64(p.Index), uint64(p.Sum))
		e.env.Refs = e.refs
	}
}

// fillRequest fills in what clients' requests become between members.
func (e *encoder) fillRequest(body raft.Body) (kind uint8, err error) {
	v := &e.env
	switch b := body.(type) {
	case raft.Forward:
		e.refs, e.pays, e.raw = e.refs[:0], e.pays[:0], e.raw[:0]
		for _, p := range b.Proposals {
			e.refs, e.pays, e.raw = append(e.refs, p.Ref), append(e.pays, p.Payload), append(e.raw, bit(p.Grows))
		}
		v.Refs, v.Payloads, v.Raw = e.refs, e.pays, e.raw
		return frameForward, nil
	case raft.ForwardRefused:
		v.A, v.Refs = uint64(b.Reason), b.Refs
		return frameForwardRefused, nil
	case raft.ReadRequest:
		v.A = b.Ref
		return frameReadRequest, nil
	case raft.ReadReply:
		v.A, v.B, v.C = b.Ref, uint64(b.Index), uint64(b.Reason)
		return frameReadReply, nil
	case raft.Stranger:
		v.A = uint64(b.Config)
		return frameStranger, nil
	}
	return 0, fmt.Errorf("%T does not travel between members: %w", body, ErrFrame)
}

// readFrame reads one frame; the body is fresh memory that the message may keep.
func readFrame(r io.Reader) (kind uint8, body []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame claims %d bytes, the bound is %d: %w", n, maxFrame, ErrFrame)
	}
	for len(body) < int(n) { // grows as it comes: a length alone makes nobody allocate
		at := len(body)
		body = append(body, make([]byte, min(int(n)-at, 1<<20))...)
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			return 0, nil, err
		}
	}
	if binary.LittleEndian.Uint32(head[8:]) != frameSum(head[:8], body) {
		return 0, nil, fmt.Errorf("frame of kind %d does not verify: %w", head[4], ErrFrame)
	}
	return head[4], body, nil
}

// decoder turns frames into messages.
type decoder struct {
	dec    *codec.Decoder
	handle *codec.MsgpackHandle
	env    envelope
}

func newDecoder() *decoder {
	h := handle()
	return &decoder{dec: codec.NewDecoderBytes(nil, h), handle: h}
}

// message decodes a frame's body; known is false for a kind of a newer version.
func (d *decoder) message(kind uint8, body []byte) (m raft.Message, known bool, err error) {
	if kind < frameVoteRequest || kind > frameSnapshotRequest {
		return raft.Message{}, false, nil
	}
	if err := measure(body); err != nil {
		return raft.Message{}, false, fmt.Errorf("frame of kind %d: %w", kind, err)
	}
	d.env = envelope{}
	// What is there can be taken in at once; a length that claims more than that allocates no more either.
	d.handle.MaxInitLen = max(1, len(body))
	d.dec.ResetBytes(body)
	if err := d.decode(); err != nil {
		return raft.Message{}, false, fmt.Errorf("frame of kind %d: %w: %w", kind, ErrFrame, err)
	}
	v := &d.env
	m = raft.Message{Term: raft.Term(v.Term), FromBoot: raft.Boot(v.FromBoot), ToBoot: raft.Boot(v.ToBoot)}
	m.Body, err = d.body(kind)
	return m, true, err
}

// decode keeps a hostile body from stopping the process: the codec panics on some.
func (d *decoder) decode() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return d.dec.Decode(&d.env)
}

func (d *decoder) body(kind uint8) (raft.Body, error) {
	v := &d.env
	first, second := v.Flags&1 != 0, v.Flags&2 != 0
	switch kind {
	case frameVoteRequest:
		return raft.VoteRequest{Pre: first, Transfer: second, Campaign: v.A, Last: raft.Position{Index: raft.Index(v.B), Term: raft.Term(v.C)}}, nil
	case frameVoteReply:
		return raft.VoteReply{Pre: first, Granted: second, Campaign: v.A}, nil
	case frameAppend:
		return d.append()
	case frameAppendReply:
		return raft.AppendReply{Rejected: first, Match: raft.Index(v.A), Hint: raft.Position{Index: raft.Index(v.B), Term: raft.Term(v.C)}}, nil
	case frameHeartbeat:
		p, err := d.point()
		return raft.Heartbeat{Commit: raft.Index(v.A), Read: v.B, Space: raft.Space{Low: first, Out: second}, Point: p, Diverged: v.Flags&4 != 0, Quiet: v.Flags&8 != 0}, err
	case frameHeartbeatReply:
		p, err := d.point()
		return raft.HeartbeatReply{Read: v.A, Space: raft.Space{Low: first, Out: second}, Point: p, Unwatched: v.Flags&4 != 0}, err
	case frameTimeoutNow:
		return raft.TimeoutNow{}, nil
	case frameForward:
		return d.forward()
	case frameForwardRefused:
		return raft.ForwardRefused{Refs: v.Refs, Reason: raft.Refusal(v.A)}, nil
	case frameReadRequest:
		return raft.ReadRequest{Ref: v.A}, nil
	case frameReadReply:
		return raft.ReadReply{Ref: v.A, Index: raft.Index(v.B), Reason: raft.Refusal(v.C)}, nil
	case frameStranger:
		return raft.Stranger{Config: raft.Index(v.A)}, nil
	}
	return d.repair(kind)
}

func (d *decoder) point() (raft.Point, error) {
	switch refs := d.env.Refs; {
	case len(refs) == 0:
		return raft.Point{}, nil
	case len(refs) == 2 && refs[1] <= math.MaxUint32:
		return raft.Point{Index: raft.Index(refs[0]), Sum: uint32(refs[1])}, nil
	}
	return raft.Point{}, fmt.Errorf("point of %d numbers: %w", len(d.env.Refs), ErrFrame)
}

func (d *decoder) append() (raft.Body, error) {
	v := &d.env
	entries, err := d.entries()
	if err != nil {
		return nil, fmt.Errorf("append: %w: %w", ErrFrame, err)
	}
	return raft.Append{Prev: raft.Position{Index: raft.Index(v.A), Term: raft.Term(v.B)}, Commit: raft.Index(v.C), Entries: entries}, nil
}

// entries takes the raw block apart; each entry is held to its own checksum.
func (d *decoder) entries() (entries []raft.Entry, err error) {
	if n := countEntries(d.env.Raw); n > 0 {
		entries = make([]raft.Entry, 0, n)
	}
	for b := d.env.Raw; len(b) > 0; {
		e, rest, err := raft.DecodeEntry(b)
		if err != nil {
			return nil, err
		}
		entries, b = append(entries, e), rest
	}
	return entries, nil
}

func (d *decoder) forward() (raft.Body, error) {
	v := &d.env
	if len(v.Refs) != len(v.Payloads) || len(v.Refs) != len(v.Raw) {
		return nil, fmt.Errorf("forward of %d refs, %d payloads and %d flags: %w", len(v.Refs), len(v.Payloads), len(v.Raw), ErrFrame)
	}
	f := raft.Forward{Proposals: make([]raft.Proposal, len(v.Refs))}
	for i := range v.Refs {
		f.Proposals[i] = raft.Proposal{Ref: v.Refs[i], Grows: v.Raw[i]&1 != 0, Payload: v.Payloads[i]}
	}
	return f, nil
}
