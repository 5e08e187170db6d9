package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// memFile is an open file of a Mem. It goes on working when its name is moved or removed.
type memFile struct {
	m      *Mem
	n      *memNode
	name   string // as opened, for messages
	closed bool
}

// begin locks the disk for one operation; the caller unlocks it if there is no error.
func (f *memFile) begin(op string) error {
	f.m.mu.Lock()
	if f.closed {
		f.m.mu.Unlock()
		return fmt.Errorf("%s %s: %w", op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.begin("read"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.begin("write"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if err := f.room("write", at+int64(len(b))); err != nil {
		return 0, err
	}
	w := memWrite{at, append([]byte{}, b...)}
	f.n.data = w.apply(f.n.data)
	f.n.pending = append(f.n.pending, w)
	return len(b), nil
}

func (w *memWrite) apply(data []byte) []byte {
	if w.data == nil {
		return resize(data, w.at)
	}
	data = resize(data, max(int64(len(data)), w.at+int64(len(w.data))))
	copy(data[w.at:], w.data)
	return data
}

func (f *memFile) Truncate(size int64) error {
	if err := f.begin("truncate"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.truncate(size)
	return nil
}

func (f *memFile) truncate(size int64) {
	w := memWrite{at: size}
	f.n.data = w.apply(f.n.data)
	f.n.pending = append(f.n.pending, w)
}

// Uncache changes nothing: there is no other copy.
func (f *memFile) Uncache() {}

func (f *memFile) Preallocate(size int64) error {
	if err := f.begin("preallocate"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if err := f.room("preallocate", size); err != nil {
		return err
	}
	if int64(len(f.n.data)) < size {
		f.truncate(size)
	}
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.begin("stat"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) Sync() error {
	if err := f.begin("sync"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	for i := range f.n.pending {
		f.n.durable = f.n.pending[i].apply(f.n.durable)
	}
	f.n.pending = slices.Delete(f.n.pending, 0, len(f.n.pending))
	return nil
}

func (f *memFile) Close() error {
	if err := f.begin("close"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.closed = true
	return nil
}
