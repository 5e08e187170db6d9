// Package image makes container images without a container engine: from a list of files, or from the final
// stage of a Dockerfile whose other stages were carried out by somebody else.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Spec says what an image holds and how it is run.
type Spec struct {
	Files      []File
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkDir    string
	Ports      []string // each with its protocol: 2379/tcp
	Labels     map[string]string
}

// File is one file of an image: Path in it, Source on this machine. It belongs to root, with the source's
// permissions.
type File struct {
	Path   string
	Source string
}

// Build makes the image: one layer with all files, the same bytes for the same input.
func (s Spec) Build() (v1.Image, error) {
	layer, err := s.layer()
	if err != nil {
		return nil, err
	}
	// Not compressed: the archive goes to the next process of this machine, which unpacks it at once.
	made := static.NewLayer(layer, types.DockerUncompressedLayer)
	img, err := mutate.AppendLayers(empty.Image, made)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{
		User: s.User, Env: s.Env, Entrypoint: s.Entrypoint, Cmd: s.Cmd, WorkingDir: s.WorkDir, Labels: s.Labels,
	}
	for _, p := range s.Ports {
		if file.Config.ExposedPorts == nil {
			file.Config.ExposedPorts = map[string]struct{}{}
		}
		file.Config.ExposedPorts[p] = struct{}{}
	}
	return mutate.ConfigFile(img, file)
}

// layer is the tar of all files with the directories above them.
func (s Spec) layer() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	dirs := map[string]bool{}
	for _, f := range s.Files {
		for dir := path.Dir(strings.Trim(f.Path, "/")); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) { // a parent sorts before its children
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, f := range s.Files {
		if seen[f.Path] || dirs[strings.Trim(f.Path, "/")] {
			return nil, fmt.Errorf("%s is in the image twice", f.Path)
		}
		seen[f.Path] = true
		if err := add(w, f); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func add(w *tar.Writer, f File) error {
	src, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", f.Source)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: strings.Trim(f.Path, "/"), Mode: int64(info.Mode().Perm()), Size: info.Size()}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, src)
	return err
}

// Write saves an image under a name as a tar that container runtimes import. The file appears complete or
// not at all.
func Write(file, ref string, img v1.Image) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	part := file + ".part"
	if err := tarball.WriteToFile(part, tag, img); err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	return os.Rename(part, file)
}
