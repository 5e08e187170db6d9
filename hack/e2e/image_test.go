package e2e

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	reference "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// stage is what a Dockerfile's final stage says that an image is. Files maps each path in the image to its
// source in an earlier stage.
type stage struct {
	from, user string
	entrypoint []string
	ports      []string
	files      map[string]string
}

// finalStage reads the last stage of a Dockerfile, and only instructions that it knows.
func finalStage(text string) (stage, error) {
	var s stage
	for _, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), words[0]))
		switch words[0] {
		case "FROM":
			s = stage{from: words[1], files: map[string]string{}}
		case "USER":
			s.user = rest
		case "EXPOSE":
			for _, p := range words[1:] {
				if !strings.Contains(p, "/") {
					p += "/tcp"
				}
				s.ports = append(s.ports, p)
			}
		case "ENTRYPOINT":
			s.entrypoint = nil
			if err := json.Unmarshal([]byte(rest), &s.entrypoint); err != nil {
				return s, fmt.Errorf("%s: %w", line, err)
			}
		case "COPY":
			if len(words) == 4 && strings.HasPrefix(words[1], "--from=") {
				s.files[words[3]] = words[2]
			} else if s.from == "scratch" {
				return s, fmt.Errorf("%s: only COPY --from=STAGE SOURCE FILE is understood", line)
			}
		case "WORKDIR", "RUN", "ARG":
			if s.from == "scratch" {
				return s, fmt.Errorf("%s: not understood in a final stage", line)
			}
		default:
			return s, fmt.Errorf("%s: not understood", line)
		}
	}
	slices.Sort(s.ports)
	return s, nil
}

// loadedImage takes the image back from a node's container runtime and compares it with the Dockerfile.
func (s *suite) loadedImage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(s.repo, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := finalStage(string(text))
	if err != nil {
		t.Fatal(err)
	}
	img := s.exported(t)
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got := file.Config
	ports := slices.Sorted(maps.Keys(got.ExposedPorts))
	if got.User != want.user || !slices.Equal(got.Entrypoint, want.entrypoint) || !slices.Equal(ports, want.ports) || len(got.Cmd) > 0 {
		t.Errorf("the loaded image has user %q, entrypoint %q, command %q, ports %q; the Dockerfile says %q, %q, %q",
			got.User, got.Entrypoint, got.Cmd, ports, want.user, want.entrypoint, want.ports)
	}
	if want.user == "" || strings.HasPrefix(want.user, "0") || strings.HasPrefix(want.user, "root") {
		t.Errorf("the image runs as %q: it must not be root", want.user)
	}
	built, err := os.ReadFile(filepath.Join(s.dir, "raftsman"))
	if err != nil {
		t.Fatal(err)
	}
	held := contents(t, img)
	for path := range want.files {
		if held[path] != sha256.Sum256(built) {
			t.Errorf("%s is not the program that was built", path)
		}
		delete(held, path)
	}
	if len(held) > 0 || len(want.files) != 1 {
		t.Errorf("the image holds besides %v: %v", slices.Collect(maps.Keys(want.files)), slices.Collect(maps.Keys(held)))
	}
}

// exported asks a node's container runtime for the image.
func (s *suite) exported(t *testing.T) v1.Image {
	t.Helper()
	ctr, err := s.dev.Run(t.Context(), "tool", "ctr")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	out, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd := s.dev.Command(t.Context(), "exec", "--node", "1", "--", ctr, "--namespace", "k8s.io", "images", "export", "--local", "-", s.image)
	cmd.Stdout, cmd.Stderr = out, &complaints
	if err := errors.Join(cmd.Run(), out.Close()); err != nil {
		t.Fatalf("export %s: %v\n%s", s.image, err, complaints.String())
	}
	tag, err := reference.NewTag(s.image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// contents are the regular files of an image with their checksums.
func contents(t *testing.T, img v1.Image) map[string][sha256.Size]byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	held := map[string][sha256.Size]byte{}
	for _, layer := range layers {
		r, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		in := tar.NewReader(r)
		for {
			header, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if header.Typeflag == tar.TypeDir {
				continue
			}
			data, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			held["/"+strings.Trim(header.Name, "/")] = sha256.Sum256(data)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return held
}

func TestFinalStage(t *testing.T) {
	s, err := finalStage("FROM a AS build\nRUN x\nFROM scratch\n# c\nCOPY --from=build /out/p /p\nUSER 1:1\nEXPOSE 2 1/udp\nENTRYPOINT [\"/p\", \"x\"]\n")
	if err != nil || s.user != "1:1" || s.files["/p"] != "/out/p" || !slices.Equal(s.ports, []string{"1/udp", "2/tcp"}) || !slices.Equal(s.entrypoint, []string{"/p", "x"}) {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"FROM scratch\nVOLUME /x\n", "FROM scratch\nRUN x\n", "FROM scratch\nCOPY a b\n", "FROM scratch\nENTRYPOINT /x\n"} {
		if _, err := finalStage(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
