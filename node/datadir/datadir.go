// Package datadir is one member's data directory: its lock, its identity, and where things lie in it.
//
// The identity file (version 1, frozen; integers little-endian) is written beside itself, synced and
// renamed, and the directory is synced:
//
//	0   8   magic "RAFTIDN\x01": the last byte is the version
//	8   8   member ID
//	16  8   cluster ID, 0 while unjoined
//	24  8   boot
//	32  1   1 when the cluster has removed this identity
//	33  2   n, the length of the name
//	35  n   name
//	    4   CRC-32C of everything before
//
// Beside the identity lie "log" and "store". A file "store-damaged" says that the store was found damaged while the
// member ran, and why, in plain words: the next start moves the store to "aside-store", where it stays until another
// has taken its place. A file "rolled-back" says that the volume was found to be an older copy of itself, and by whom:
// the directory is not opened again.
package datadir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

const (
	magic        = "RAFTIDN\x01"
	identityFile = "identity"
	lockFile     = "lock"
	fixedSize    = 35
	maxName      = 253
)

// Sentinels: what the caller does differs.
var (
	// ErrCorrupt: the identity, or the log that belongs to it, is damaged or missing.
	ErrCorrupt = errors.New("data directory is damaged")
	// ErrForeign: the directory belongs to another member or cluster, or is not Raftsman's at all. Another member's
	// matches ErrCorrupt too: nothing of this one can be trusted to be there.
	ErrForeign = errors.New("data directory is another's")
)

// Identity is who a member is.
type Identity struct {
	Member  raft.MemberID
	Cluster raft.ClusterID // 0 while unjoined
	Boot    raft.Boot
	Name    string
	Removed bool
}

// Dir is an open, locked data directory.
type Dir struct {
	fs   vfs.FS
	path string
	id   Identity
	lock io.Closer
}

// Open locks the directory and reads its identity, with the boot that CountBoot makes durable, or draws a new
// one by draw. Every refusal leaves the disk as it was. An identity that its cluster has removed is set aside
// first, with all its data, and a new one is drawn.
func Open(fsys vfs.FS, path, name string, draw func() uint64) (*Dir, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("member name %q: it must have 1 to %d bytes", name, maxName)
	}
	if _, err := look(fsys, path); err != nil {
		return nil, err
	}
	if err := fsys.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("make data directory %s: %w", path, err)
	}
	lock, err := fsys.Lock(filepath.Join(path, lockFile))
	if err != nil {
		return nil, fmt.Errorf("data directory %s is in use by another process; stop that one first: %w", path, err)
	}
	d := &Dir{fs: fsys, path: path, lock: lock}
	exists, err := look(fsys, path) // again: another process may have been here before the lock
	if err == nil {
		err = d.begin(name, exists, draw)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// look says whether the directory has an identity, and refuses one that holds something, but none.
func look(fsys vfs.FS, path string) (exists bool, err error) {
	names, err := fsys.List(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("data directory %s: %w", path, err)
	}
	if slices.Contains(names, identityFile) {
		return true, nil
	}
	return false, refuse(path, names)
}

// refuse rejects a directory that holds something, but no identity.
func refuse(path string, names []string) error {
	for _, n := range names {
		switch {
		case n == lockFile || n == identityFile+".tmp" || n == "lost+found" || strings.HasPrefix(n, "aside-"):
		case n == "log" || n == "store" || n == damagedFile || n == rolledBackFile:
			return fmt.Errorf("data directory %s holds a %s but no identity: do not start this member again; remove it from the cluster and let a new one replace it: %w", path, n, ErrCorrupt)
		default:
			return fmt.Errorf("%s is not a Raftsman data directory: it holds %q; name an empty one: %w", path, n, ErrForeign)
		}
	}
	return nil
}

func (d *Dir) begin(name string, exists bool, draw func() uint64) error {
	if !exists {
		return d.birth(name, draw)
	}
	file := filepath.Join(d.path, identityFile)
	b, err := vfs.ReadFile(d.fs, file, 1<<10)
	if err != nil {
		return fmt.Errorf("identity %s: %w", file, readError(err))
	}
	if d.id, err = decode(b); err != nil {
		return fmt.Errorf("identity %s: %w; do not start this member again: remove it from the cluster and let a new one replace it", file, err)
	}
	if d.id.Name != name {
		return fmt.Errorf("data directory %s belongs to member %q, not %q: name the directory of this member, or start it as %q: %w: %w", d.path, d.id.Name, name, d.id.Name, ErrForeign, ErrCorrupt)
	}
	if d.id.Removed {
		return d.setAside(name, draw)
	}
	if err := d.rolledBack(); err != nil {
		return err
	}
	d.id.Boot++
	return nil
}

// readError marks a failure to read the identity as damage, unless the operating system says otherwise: no
// permission, no file descriptors left, ...
func readError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.EIO {
		return err
	}
	return errors.Join(err, ErrCorrupt)
}

// CountBoot makes the boot of this start durable. The caller has found everything else in the directory sound,
// so that a start that is refused changes nothing; nothing may leave this member before.
func (d *Dir) CountBoot() error { return d.save() }

// birth draws an identity for an empty directory.
func (d *Dir) birth(name string, draw func() uint64) error {
	d.id = Identity{Name: name, Boot: 1}
	for d.id.Member == 0 {
		d.id.Member = raft.MemberID(draw())
	}
	if err := d.save(); err != nil {
		return err
	}
	return d.fs.SyncDir(filepath.Dir(d.path))
}

// setAside keeps the removed identity's data beside, and begins anew. The identity goes last, so that a crash
// in between is taken up again at the next start.
func (d *Dir) setAside(name string, draw func() uint64) error {
	aside := filepath.Join(d.path, "aside-"+d.id.Member.String())
	if err := errors.Join(d.fs.MkdirAll(aside), d.fs.SyncDir(d.path)); err != nil {
		return fmt.Errorf("set aside the data of removed member %v: %w", d.id.Member, err)
	}
	for _, part := range []string{"log", "store", damagedFile, storeAside, rolledBackFile} {
		err := d.fs.Rename(filepath.Join(d.path, part), filepath.Join(aside, part))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set aside %s of removed member %v: %w", part, d.id.Member, err)
		}
	}
	if err := errors.Join(d.fs.SyncDir(aside), d.fs.SyncDir(d.path)); err != nil {
		return fmt.Errorf("set aside the data of removed member %v: %w", d.id.Member, err)
	}
	return d.birth(name, draw)
}

// Identity is who this member is, in this boot.
func (d *Dir) Identity() Identity { return d.id }

// Join makes the member one of that cluster, for ever. Another cluster is ErrForeign.
func (d *Dir) Join(cluster raft.ClusterID) error {
	if d.id.Cluster == cluster {
		return nil
	}
	if d.id.Cluster != 0 {
		return fmt.Errorf("member %v belongs to cluster %v and cannot join %v: %w", d.id.Member, d.id.Cluster, cluster, ErrForeign)
	}
	d.id.Cluster = cluster
	if err := d.save(); err != nil {
		d.id.Cluster = 0
		return err
	}
	return nil
}

// MarkRemoved notes that the cluster goes on without this identity; the next Open sets it aside.
func (d *Dir) MarkRemoved() error {
	d.id.Removed = true
	return d.save()
}

// Log and Store are where the parts lie.
func (d *Dir) Log() string   { return filepath.Join(d.path, "log") }
func (d *Dir) Store() string { return filepath.Join(d.path, "store") }

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) save() error {
	if err := vfs.WriteFile(d.fs, d.path, identityFile, encode(d.id)); err != nil {
		return fmt.Errorf("write the identity of data directory %s: %w", d.path, err)
	}
	return nil
}

func encode(id Identity) []byte {
	b := []byte(magic)
	for _, v := range []uint64{uint64(id.Member), uint64(id.Cluster), uint64(id.Boot)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	removed := byte(0)
	if id.Removed {
		removed = 1
	}
	b = binary.LittleEndian.AppendUint16(append(b, removed), uint16(len(id.Name)))
	b = append(b, id.Name...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func decode(b []byte) (Identity, error) {
	if len(b) >= 8 && string(b[:7]) == magic[:7] && b[7] != magic[7] && !verifies(append([]byte(magic), b[8:]...)) {
		return Identity{}, fmt.Errorf("it is of format version %d, this program knows %d: %w", b[7], magic[7], ErrForeign)
	}
	if !verifies(b) {
		return Identity{}, fmt.Errorf("its %d bytes do not verify: %w", len(b), ErrCorrupt)
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	if u(8) == 0 || b[32] > 1 {
		return Identity{}, fmt.Errorf("it verifies, but no member can have written it: %w", ErrCorrupt)
	}
	return Identity{
		Member: raft.MemberID(u(8)), Cluster: raft.ClusterID(u(16)), Boot: raft.Boot(u(24)),
		Removed: b[32] == 1, Name: string(b[fixedSize : len(b)-4]),
	}, nil
}

// verifies reports whether b is whole. Bytes that would be, but for the version in them, are damaged and of no other
// version.
func verifies(b []byte) bool {
	return len(b) >= fixedSize+4 && string(b[:8]) == magic && len(b) == fixedSize+4+int(binary.LittleEndian.Uint16(b[33:])) &&
		binary.LittleEndian.Uint32(b[len(b)-4:]) == crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli))
}
