// Package programs builds the programs of a dev cluster from their Go modules and keeps them in the user's
// cache, in one directory for each program and everything that its build depends on. What is there is not
// built again.
package programs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Shelf is the cache with what it is filled from.
type Shelf struct {
	Dir    string    // the cache
	Source string    // the directory of the programs module
	Out    io.Writer // progress, one line each
}

// Open finds the cache of the user and the source of the programs, which lies beside this tool's own.
func Open(out io.Writer) (Shelf, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Shelf{}, fmt.Errorf("find the cache directory (set HOME or XDG_CACHE_HOME): %w", err)
	}
	source, err := findSource()
	if err != nil {
		return Shelf{}, err
	}
	return Shelf{Dir: filepath.Join(cache, "raftsman", "devcluster"), Source: source, Out: out}, nil
}

// findSource looks upward from the working directory, then where this tool was compiled.
func findSource() (string, error) {
	var tried []string
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			tried = append(tried, filepath.Join(dir, "programs"), filepath.Join(dir, "hack", "devcluster", "programs"))
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		tried = append(tried, filepath.Join(filepath.Dir(file), "..", "..", "programs"))
	}
	for _, dir := range tried {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module raftsman.dev/hack/devcluster/programs\n") {
			return filepath.Clean(dir), nil
		}
	}
	return "", errors.New("the source hack/devcluster/programs is not found: run this from within the repository")
}

func find(name string) (Program, error) {
	all := catalogue()
	i := slices.IndexFunc(all, func(p Program) bool { return p.Name == name })
	if i < 0 {
		return Program{}, fmt.Errorf("program %q is not known; known are %s", name, strings.Join(Tools(), ", "))
	}
	return all[i], nil
}

// Path is where a file of a program lies once it is built.
func (s Shelf) Path(name, file string) (string, error) {
	p, err := find(name)
	if err != nil {
		return "", err
	}
	dir, err := s.dir(p)
	return filepath.Join(dir, file), err
}

// dir names a program's directory after all that its build depends on.
func (s Shelf) dir(p Program) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, p.Package, p.Version, p.Ldflags, p.Files)
	if p.Version == "" {
		files := []string{"go.mod", "go.sum"}
		if p.Dir != "" {
			own, err := filepath.Glob(filepath.Join(s.Source, p.Dir, "*.go"))
			if err != nil {
				return "", err
			}
			for _, f := range own {
				files = append(files, filepath.Join(p.Dir, filepath.Base(f)))
			}
		}
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(s.Source, f))
			if err != nil {
				return "", err
			}
			fmt.Fprintln(h, f, len(data))
			h.Write(data)
		}
	}
	const digits = 12
	return filepath.Join(s.Dir, p.Name+"-"+hex.EncodeToString(h.Sum(nil))[:digits]), nil
}

// Missing lists those of the named programs that are yet to be built.
func (s Shelf) Missing(names []string) ([]string, error) {
	var missing []string
	for _, name := range names {
		p, err := find(name)
		if err != nil {
			return nil, err
		}
		dir, err := s.dir(p)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(dir); err != nil {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// Need builds what is missing of the named programs, one after the other: the compiler uses all cores by
// itself. Two processes that need the same wait for each other.
func (s Shelf) Need(ctx context.Context, names ...string) error {
	missing, err := s.Missing(names)
	if err != nil || len(missing) == 0 {
		return err
	}
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("programs %s must be built, and the command go is not on PATH: install Go and add it", strings.Join(missing, ", "))
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if missing, err = s.Missing(names); err != nil { // another process may have built them meanwhile
		return err
	}
	for i, name := range missing {
		p, err := find(name)
		if err != nil {
			return err
		}
		if err := s.build(ctx, p, fmt.Sprintf("%d of %d", i+1, len(missing))); err != nil {
			return err
		}
	}
	return nil
}

func (s Shelf) lock() (func(), error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// build makes one program in a directory of its own, which gets its right name when all is in it.
func (s Shelf) build(ctx context.Context, p Program, which string) error {
	final, err := s.dir(p)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(s.Dir, "building-"+p.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	began := time.Now()
	note := ""
	if p.Note != "" {
		note = " (" + p.Note + ")"
	}
	fmt.Fprintf(s.Out, "building %s, program %s%s\n", p.Name, which, note)
	out, err := s.watch(ctx, p, work, began)
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", p.Name, err, out)
	}
	if p.Name == "kube" {
		for _, link := range links() {
			if err := os.Symlink("kube", filepath.Join(work, link)); err != nil {
				return err
			}
		}
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := os.Rename(work, final); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "built %s in %s\n", p.Name, time.Since(began).Round(time.Second))
	return nil
}

// watch runs the compiler and says every now and then that it still does.
func (s Shelf) watch(ctx context.Context, p Program, work string, began time.Time) (string, error) {
	const silence = 30 * time.Second
	cmd := s.command(ctx, p, work)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(silence)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return out.String(), err
		case <-tick.C:
			fmt.Fprintf(s.Out, "  still building %s: %s\n", p.Name, time.Since(began).Round(time.Second))
		}
	}
}

// command is the compiler's command line. Programs of modules that the programs module requires share its
// versions, and so most of their compiled packages; the others bring their own.
func (s Shelf) command(ctx context.Context, p Program, work string) *exec.Cmd {
	var cmd *exec.Cmd
	if p.Version != "" {
		cmd = exec.CommandContext(ctx, "go", "install", "-ldflags", p.Ldflags, p.Package+"@"+p.Version)
		cmd.Dir = work
	} else {
		pkg := p.Dir
		if pkg == "" {
			pkg = p.Package
		}
		cmd = exec.CommandContext(ctx, "go", "build", "-ldflags", p.Ldflags, "-o", filepath.Join(work, p.Files[0]), pkg)
		cmd.Dir = s.Source
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+work, "GOFLAGS=-buildvcs=false", "GOWORK=off")
	return cmd
}

// Tool returns the path of a program by its own name, built if it was not. Helm is taken from PATH where it
// is; the others are always our own, so that their versions are known.
func (s Shelf) Tool(ctx context.Context, name string) (string, error) {
	if name == "helm" {
		if path, err := exec.LookPath("helm"); err == nil {
			return path, nil
		}
	}
	program := name
	if slices.Contains(links(), name) {
		program = "kube"
	}
	if _, err := find(program); err != nil {
		return "", err
	}
	if err := s.Need(ctx, program); err != nil {
		return "", err
	}
	return s.Path(program, name)
}
