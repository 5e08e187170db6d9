package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"
)

// segment is one segment as it was found.
type segment struct {
	number uint64
	data   []byte
	hole   int64 // where the last stretch that the medium does not give ends; 0: it gives all
	why    string
	short  bool // the file is smaller than its header says
	head   header
	ok     bool // the header verifies
	first  uint64
}

// pageBytes is the step in which a segment is read where the whole cannot be.
const pageBytes = 4096

// unreadable tells a medium that has lost something from any other failure.
func unreadable(err error) bool {
	for _, e := range []error{syscall.EIO, syscall.EBADMSG, syscall.EUCLEAN, syscall.ENODATA, syscall.EILSEQ} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// read reads a segment. What the medium does not give reads as zeros, and the last such place is noted.
func (l *Log) read(number uint64) (*segment, error) {
	s := &segment{number: number}
	size, err := l.openFound(number)
	switch {
	case unreadable(err):
		s.hole, s.why = math.MaxInt64, err.Error()
		return s, nil
	case err != nil:
		return nil, err
	}
	s.data = make([]byte, size)
	if err := l.readInto(s); err != nil {
		return nil, err
	}
	var other byte
	s.head, s.ok, other = readSegmentHeader(s.data, number)
	if other != 0 {
		return nil, fmt.Errorf("log segment %s is of format version %d, this program knows version %d: start this member with the program that wrote it", l.path(number), other, magic[7])
	}
	if s.ok {
		s.first = s.head.first
	} else if h, _, _, ok := s.headAt(segmentHeader); ok {
		s.first = h.number
	}
	if s.ok && s.head.size > uint64(size) {
		s.short = true
		s.hole, s.why = math.MaxInt64, fmt.Sprintf("the file has %d bytes of %d", size, s.head.size)
	}
	return s, nil
}

// openFound opens a segment that was listed; one that cannot be opened stays known by its name.
func (l *Log) openFound(number uint64) (size int64, err error) {
	f := l.mu.segments[number]
	if f == nil {
		l.mu.segments[number] = nil
		if f, err = l.fs.Open(l.path(number)); err != nil {
			return 0, err
		}
		l.mu.segments[number] = f
	}
	return f.Size()
}

func (l *Log) readInto(s *segment) error {
	f := l.mu.segments[s.number]
	n, err := f.ReadAt(s.data, 0)
	if err == nil || errors.Is(err, io.EOF) && n == len(s.data) {
		return nil
	}
	if !unreadable(err) {
		return fmt.Errorf("read segment %s: %w", l.path(s.number), err)
	}
	for at := 0; at < len(s.data); at += pageBytes {
		page := s.data[at:min(at+pageBytes, len(s.data))]
		n, err := f.ReadAt(page, int64(at))
		switch {
		case err == nil || errors.Is(err, io.EOF) && n == len(page):
		case unreadable(err):
			clear(page)
			s.hole, s.why = int64(at+len(page)), err.Error()
		default:
			return fmt.Errorf("read segment %s: %w", l.path(s.number), err)
		}
	}
	return nil
}

// headAt reads a head that stands at a place; size is the record's, with padding.
func (s *segment) headAt(at int64) (h head, items []byte, size int, ok bool) {
	if at+recordHeader+headBody > int64(len(s.data)) {
		return head{}, nil, 0, false
	}
	b := s.data[at:]
	if b[8] != kindHead || binary.LittleEndian.Uint32(b) < headBody {
		return head{}, nil, 0, false
	}
	kind, body, size, ok := readRecord(b, place{s.number, at})
	if !ok || kind != kindHead {
		return head{}, nil, 0, false
	}
	h, items, ok = readHead(body)
	return h, items, size, ok && h.number > 0 && h.durable < h.number
}

// nextAt reports whether the record at a place names the segment behind.
func (s *segment) nextAt(at int64) bool {
	if at+nextRecord > int64(len(s.data)) || s.data[at+8] != kindNext {
		return false
	}
	kind, body, _, ok := readRecord(s.data[at:], place{s.number, at})
	return ok && kind == kindNext && len(body) == 8 && binary.LittleEndian.Uint64(body) == s.number+1
}

// record is one verified record of a write.
type record struct {
	kind   byte
	body   []byte
	offset int64 // of the body
}

// writeAt verifies the write that begins at a place, every record of it; bad is where it does not verify.
func (s *segment) writeAt(at int64) (h head, records []record, bad int64, ok bool) {
	h, _, size, ok := s.headAt(at)
	if !ok || h.size < uint64(size) || h.size > uint64(int64(len(s.data))-at) {
		return h, nil, at, false
	}
	end := at + int64(h.size)
	for from := at + int64(size); from < end; {
		kind, body, size, ok := readRecord(s.data[from:end], place{s.number, from})
		if !ok || kind == kindHead || kind == kindNext {
			return h, nil, from, false
		}
		records = append(records, record{kind, body, from + recordHeader})
		from += int64(size)
	}
	return h, records, 0, true
}

// zeroFrom reports whether nothing stands from a place on.
func (s *segment) zeroFrom(at int64) bool {
	for _, x := range s.data[min(at, int64(len(s.data))):] {
		if x != 0 {
			return false
		}
	}
	return true
}
