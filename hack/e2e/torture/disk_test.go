//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is a file system of its own under one member: what is done there is done in another directory, but fsync
// does as it is told. The member's process is the production binary and knows nothing of it.
type disk struct {
	server *fuse.Server
	state  atomic.Pointer[fsyncState]
}

// fsyncState is how fsync behaves: it waits until hang is closed, if it is not nil, and answers errno.
type fsyncState struct {
	hang  chan struct{}
	errno syscall.Errno
	seen  atomic.Int64 // how many were hit
}

// diskNode is one file or directory.
type diskNode struct {
	*fusefs.LoopbackNode
	d *disk
}

// WrapChild implements fs.NodeWrapChilder.
func (n *diskNode) WrapChild(_ context.Context, ops fusefs.InodeEmbedder) fusefs.InodeEmbedder {
	return &diskNode{ops.(*fusefs.LoopbackNode), n.d}
}

// Fsync implements fs.NodeFsyncer, for fsync and fdatasync of files and of directories.
func (n *diskNode) Fsync(_ context.Context, f fusefs.FileHandle, flags uint32) syscall.Errno {
	if s := n.d.state.Load(); s.hang != nil || s.errno != 0 {
		s.seen.Add(1)
		if s.hang != nil {
			<-s.hang
		}
		if s.errno != 0 {
			return s.errno
		}
	}
	if file, ok := f.(fusefs.FileFsyncer); ok {
		return file.Fsync(context.Background(), flags)
	}
	return 0 // a directory: its names are in the kernel's cache, and no power is lost here
}

// mountDisk puts a stopped member's data onto a disk of its own.
func (g *group) mountDisk(m *member) *disk {
	g.t.Helper()
	under := m.Dir + ".disk"
	if err := errors.Join(os.Rename(m.Dir, under), os.Mkdir(m.Dir, 0o700)); err != nil {
		g.t.Fatal(err)
	}
	root, err := fusefs.NewLoopbackRoot(under)
	if err != nil {
		g.t.Fatal(err)
	}
	d := &disk{}
	d.state.Store(&fsyncState{})
	d.server, err = fusefs.Mount(m.Dir, &diskNode{root.(*fusefs.LoopbackNode), d}, &fusefs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "torture", Name: "torture"},
	})
	if err != nil {
		g.t.Fatalf("mount a file system in user space at %s (is there a /dev/fuse?): %v", m.Dir, err)
	}
	if err := keepFuse(); err != nil {
		g.t.Fatal(err)
	}
	g.heals, g.unmounts = append(g.heals, d.heal), append(g.unmounts, d.server.Unmount)
	return d
}

// keepFuse keeps the descriptors of file systems in user space from the members: one that had its own disk's would
// hold that file system up when this process is gone, and wait for it for ever.
func keepFuse() error {
	const mine = "/proc/self/fd"
	all, err := os.ReadDir(mine)
	if err != nil {
		return err
	}
	found := 0
	for _, entry := range all {
		target, err := os.Readlink(filepath.Join(mine, entry.Name()))
		if err != nil || target != "/dev/fuse" {
			continue // closed meanwhile, or another file
		}
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		syscall.CloseOnExec(fd)
		found++
	}
	if found == 0 {
		return errors.New("no descriptor of /dev/fuse among this process's own")
	}
	return nil
}

// hang lets every fsync from now on wait until the disk is healed.
func (d *disk) hang() *fsyncState { return d.become(&fsyncState{hang: make(chan struct{})}) }

// failing lets every fsync from now on fail.
func (d *disk) failing(errno syscall.Errno) *fsyncState { return d.become(&fsyncState{errno: errno}) }

// heal lets go what hangs, and fsync works again.
func (d *disk) heal() { d.become(&fsyncState{}) }

func (d *disk) become(s *fsyncState) *fsyncState {
	if before := d.state.Swap(s); before.hang != nil {
		close(before.hang)
	}
	return s
}

// mountSmall puts a stopped member's data onto a file system in memory of that many bytes.
func (g *group) mountSmall(m *member, bytes int64) {
	g.t.Helper()
	before := m.Dir + ".before"
	if err := errors.Join(os.Rename(m.Dir, before), os.Mkdir(m.Dir, 0o700)); err != nil {
		g.t.Fatal(err)
	}
	if err := syscall.Mount("torture", m.Dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		g.t.Fatalf("mount a small file system at %s: %v", m.Dir, err)
	}
	g.unmounts = append(g.unmounts, func() error { return syscall.Unmount(m.Dir, 0) })
	if err := os.CopyFS(m.Dir, os.DirFS(before)); err != nil {
		g.t.Fatal(err)
	}
}

// space is how much room a directory's file system has left.
func space(t *testing.T, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fill takes all but that much room; the answer gives it back.
func fill(t *testing.T, dir string, leave int64) (free func()) {
	t.Helper()
	ballast := filepath.Join(dir, "lost+found") // the one foreign name that a data directory may hold
	f, err := os.Create(ballast)
	if err == nil {
		err = errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, space(t, dir)-leave), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	}
}
