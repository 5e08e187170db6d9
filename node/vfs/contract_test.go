package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// systems are all implementations, each with an empty directory to work in.
func systems(t *testing.T) map[string]func() (FS, string) {
	return map[string]func() (FS, string){
		"OS":     func() (FS, string) { return OS(), t.TempDir() },
		"Mem":    func() (FS, string) { return memWithDir(t), "top" },
		"Faulty": func() (FS, string) { return NewFaulty(memWithDir(t)), "top" },
	}
}

func memWithDir(t *testing.T) *Mem {
	m := NewMem()
	do(t, m.MkdirAll("top"))
	return m
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that matches %v", err, want)
	}
}

func create(t *testing.T, f FS, path, content string) File {
	t.Helper()
	file, err := f.Create(path)
	do(t, err)
	if n, err := file.WriteAt([]byte(content), 0); err != nil || n != len(content) {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(content), err)
	}
	return file
}

func content(t *testing.T, f FS, path string) string {
	t.Helper()
	b, err := ReadFile(f, path, 1<<20)
	do(t, err)
	return string(b)
}

// TestContract: what the rest of the program relies on holds on every file system.
func TestContract(t *testing.T) {
	for name, system := range systems(t) {
		for part, test := range map[string]func(*testing.T, FS, string){
			"names": contractNames, "files": contractFiles, "renames": contractRenames, "locks": contractLocks, "whole files": contractWhole,
		} {
			t.Run(name+"/"+part, func(t *testing.T) {
				f, top := system()
				test(t, f, top)
			})
		}
	}
}

func contractNames(t *testing.T, f FS, top string) {
	at := func(name string) string { return filepath.Join(top, name) }
	do(t, create(t, f, at("b"), "1").Close(), create(t, f, at("a"), "2").Close())
	_, err := f.Create(at("a"))
	refused(t, err, fs.ErrExist)
	_, err = f.Open(at("c"))
	refused(t, err, fs.ErrNotExist)
	_, err = f.Create(at("no/file"))
	refused(t, err, fs.ErrNotExist)
	refused(t, f.Remove(at("c")), fs.ErrNotExist)
	refused(t, f.SyncDir(at("no")), fs.ErrNotExist)
	_, err = f.List(at("no"))
	refused(t, err, fs.ErrNotExist)
	do(t, f.MkdirAll(at("d/e")), f.MkdirAll(at("d/e")), create(t, f, at("d/e/f"), "3").Close(), f.SyncDir(top), f.SyncDir(at("d/e")))
	if names, err := f.List(top); err != nil || !reflect.DeepEqual(names, []string{"a", "b", "d"}) {
		t.Fatalf("listed %q: %v", names, err)
	}
	if f.Remove(at("d")) == nil {
		t.Fatal("a directory with something in it was removed")
	}
	do(t, f.Remove(at("a")), f.RemoveAll(at("d")), f.RemoveAll(at("d")), f.MkdirAll(at("empty")))
	if names, err := f.List(at("empty")); err != nil || len(names) != 0 {
		t.Fatalf("listed %q: %v", names, err)
	}
	do(t, f.Remove(at("empty")))
	if names, err := f.List(top); err != nil || !reflect.DeepEqual(names, []string{"b"}) {
		t.Fatalf("listed %q: %v", names, err)
	}
}

func contractFiles(t *testing.T, f FS, top string) {
	path := filepath.Join(top, "f")
	file := create(t, f, path, "hello")
	if n, err := file.WriteAt([]byte("X"), 9); err != nil || n != 1 {
		t.Fatalf("write past the end: %d %v", n, err)
	}
	same := func(when, want string) {
		t.Helper()
		if got := content(t, f, path); got != want {
			t.Fatalf("%s: %q, want %q", when, got, want)
		}
		if size, err := file.Size(); err != nil || size != int64(len(want)) {
			t.Fatalf("%s: size %d, want %d: %v", when, size, len(want), err)
		}
	}
	same("a hole reads as zeros", "hello\x00\x00\x00\x00X")
	b := make([]byte, 4)
	if n, err := file.ReadAt(b, 1); n != 4 || err != nil || string(b) != "ello" {
		t.Fatalf("read %d %q: %v", n, b, err)
	}
	if n, err := file.ReadAt(b, 8); n != 2 || !errors.Is(err, io.EOF) {
		t.Fatalf("a read across the end: %d %v", n, err)
	}
	if n, err := file.ReadAt(b, 50); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("a read behind the end: %d %v", n, err)
	}
	if n, err := file.ReadAt(nil, 0); n != 0 || err != nil {
		t.Fatalf("a read of nothing: %d %v", n, err)
	}
	do(t, file.Truncate(3))
	same("cut", "hel")
	do(t, file.Truncate(5))
	same("what was cut does not come back", "hel\x00\x00")
	do(t, file.Preallocate(8), file.Preallocate(2))
	same("preallocated", "hel\x00\x00\x00\x00\x00")
	do(t, file.Sync())
	file.Uncache()
	same("durable, and out of the cache", "hel\x00\x00\x00\x00\x00")
	do(t, file.Close())
	file.Uncache()
	_, err := file.WriteAt([]byte("late"), 0)
	refused(t, err, fs.ErrClosed)
	_, err = file.ReadAt(b, 0)
	refused(t, err, fs.ErrClosed)
	refused(t, file.Close(), fs.ErrClosed)
	again, err := f.Open(path)
	do(t, err)
	do(t, f.Remove(path))
	if _, err := again.WriteAt([]byte("still"), 0); err != nil {
		t.Fatalf("write to a file whose name is gone: %v", err)
	}
	do(t, again.Close())
}

func contractRenames(t *testing.T, f FS, top string) {
	at := func(name string) string { return filepath.Join(top, name) }
	old, replaced := create(t, f, at("old"), "new content"), create(t, f, at("name"), "old content")
	do(t, f.Rename(at("old"), at("name")))
	if got := content(t, f, at("name")); got != "new content" {
		t.Fatalf("after a rename %q", got)
	}
	_, err := f.Open(at("old"))
	refused(t, err, fs.ErrNotExist)
	if _, err := old.WriteAt([]byte("NEW"), 0); err != nil || content(t, f, at("name")) != "NEW content" {
		t.Fatalf("an open file does not follow its name: %v", err)
	}
	do(t, old.Close(), replaced.Close())
	refused(t, f.Rename(at("old"), at("x")), fs.ErrNotExist)
	refused(t, f.Rename(at("name"), at("no/x")), fs.ErrNotExist)
	do(t, f.MkdirAll(at("d/sub")), create(t, f, at("d/sub/f"), "deep").Close(), f.MkdirAll(at("other")))
	do(t, f.Rename(at("d"), at("other/moved")))
	if got := content(t, f, at("other/moved/sub/f")); got != "deep" {
		t.Fatalf("in a moved directory: %q", got)
	}
	do(t, f.MkdirAll(at("d/x")))
	if f.Rename(at("d"), at("other/moved")) == nil {
		t.Fatal("a directory replaced another with something in it")
	}
}

func contractLocks(t *testing.T, f FS, top string) {
	path := filepath.Join(top, "lock")
	lock, err := f.Lock(path)
	do(t, err)
	_, err = f.Lock(path)
	refused(t, err, ErrLocked)
	other, err := f.Lock(path + "2")
	do(t, err)
	do(t, lock.Close(), other.Close())
	lock, err = f.Lock(path)
	do(t, err)
	do(t, lock.Close())
	if names, err := f.List(top); err != nil || strings.Join(names, " ") != "lock lock2" {
		t.Fatalf("locks are files that stay, but there are %q: %v", names, err)
	}
	_, err = f.Lock(filepath.Join(top, "no/lock"))
	refused(t, err, fs.ErrNotExist)
}

func contractWhole(t *testing.T, f FS, top string) {
	for _, text := range []string{"first", "", strings.Repeat("long ", 1000)} {
		do(t, WriteFile(f, top, "file", []byte(text)))
		if got := content(t, f, filepath.Join(top, "file")); got != text {
			t.Fatalf("read %d bytes, wrote %d", len(got), len(text))
		}
	}
	if _, err := ReadFile(f, filepath.Join(top, "file"), 100); err == nil {
		t.Fatal("a file larger than it may be was read")
	}
	_, err := ReadFile(f, filepath.Join(top, "none"), 100)
	refused(t, err, fs.ErrNotExist)
	left := create(t, f, filepath.Join(top, "file.tmp"), "left by a crash, and longer than what comes")
	do(t, left.Close(), WriteFile(f, top, "file", []byte("x")))
	if names, err := f.List(top); err != nil || len(names) != 1 || content(t, f, filepath.Join(top, "file")) != "x" {
		t.Fatalf("left %q: %v", names, err)
	}
	b, err := ReadFile(f, filepath.Join(top, "file"), 1)
	if err != nil || !bytes.Equal(b, []byte("x")) {
		t.Fatalf("read %q: %v", b, err)
	}
}
