package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// written builds spec, writes it and reads it back from the archive.
func written(t *testing.T, spec Spec) v1.Image {
	t.Helper()
	img, err := spec.Build()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dir", "image.tar")
	if err := Write(file, "example.org/a:1", img); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.org/a:1")
	if err != nil {
		t.Fatal(err)
	}
	back, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// contents are an image's entries by name, each with its mode, owner and bytes.
func contents(t *testing.T, img v1.Image) map[string]tar.Header {
	t.Helper()
	r := mutate.Extract(img)
	defer r.Close()
	entries := map[string]tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		h.Linkname = string(data) // there are no links: it is free to carry the bytes
		entries["/"+strings.Trim(h.Name, "/")] = *h
	}
}

func file(t *testing.T, dir, name, data string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRepositoryImage makes the image of the repository's own Dockerfile and compares what comes out of the
// archive with what stands in that file, word for word.
func TestRepositoryImage(t *testing.T) {
	const dockerfile = "../../../../Dockerfile"
	stage, err := ReadDockerfile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	binary := file(t, t.TempDir(), "raftsman", "a program", 0o755)
	spec, err := stage.Spec(filepath.Dir(dockerfile), []string{binary})
	if err != nil {
		t.Fatal(err)
	}
	img := written(t, spec)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	final := string(text[bytes.LastIndex(text, []byte("\nFROM ")):])
	ports := "EXPOSE"
	for _, p := range slices.Sorted(maps.Keys(config.Config.ExposedPorts)) {
		ports += " " + strings.TrimSuffix(p, "/tcp")
	}
	for _, line := range []string{"USER " + config.Config.User, ports, `ENTRYPOINT ["` + strings.Join(config.Config.Entrypoint, `", "`) + `"]`} {
		if !strings.Contains(final, "\n"+line+"\n") {
			t.Errorf("the image says %q; the Dockerfile's final stage is %s", line, final)
		}
	}
	entries := contents(t, img)
	if len(entries) != 1 || strings.Count(final, "\nCOPY ") != 1 {
		t.Fatalf("the image holds %v; the Dockerfile's final stage is %s", slices.Collect(maps.Keys(entries)), final)
	}
	for path, h := range entries {
		if !strings.Contains(final, " "+path+"\n") || h.Linkname != "a program" || h.Mode != 0o755 || h.Uid != 0 {
			t.Errorf("the image holds %s with %q, mode %o, owner %d", path, h.Linkname, h.Mode, h.Uid)
		}
	}
	if user := config.Config.User; user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("the image runs as %q", user)
	}
}

func TestSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "conf/a.yaml", "a", 0o600)
	stage, err := ParseDockerfile(strings.NewReader(`# a comment
FROM golang AS build
RUN anything at all $WITH <<EOF
FROM scratch
LABEL org.example.title="two words" b=c
ENV A=1 B="x y"
WORKDIR /srv
# another
COPY --from=build \
  /out/one /out/two \
  bin/
COPY conf/a.yaml /etc/raftsman/
COPY ["conf/a.yaml", "b"]
USER 1:2
EXPOSE 80 53/udp
ENTRYPOINT ["/srv/bin/one", "x"]
CMD ["y"]
`))
	if err != nil {
		t.Fatal(err)
	}
	one, two := file(t, dir, "x", "one", 0o755), file(t, dir, "y", "two", 0o700)
	spec, err := stage.Spec(dir, []string{"/out/one=" + one, "/out/two=" + two})
	if err != nil {
		t.Fatal(err)
	}
	img := written(t, spec)
	entries := contents(t, img)
	want := map[string]string{"/srv/bin/one": "one", "/srv/bin/two": "two", "/etc/raftsman/a.yaml": "a", "/srv/b": "a"}
	for path, data := range want {
		if h, ok := entries[path]; !ok || h.Linkname != data {
			t.Errorf("%s holds %q, want %q", path, h.Linkname, data)
		}
	}
	for path, h := range entries {
		if _, known := want[path]; !known && h.Typeflag != tar.TypeDir {
			t.Errorf("the image holds %s as well", path)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if !slices.Equal(c.Env, []string{"A=1", "B=x y"}) || c.Labels["org.example.title"] != "two words" || c.Labels["b"] != "c" {
		t.Errorf("environment %q, labels %q", c.Env, c.Labels)
	}
	if c.WorkingDir != "/srv" || !slices.Equal(c.Cmd, []string{"y"}) || len(c.ExposedPorts) != 2 {
		t.Errorf("working directory %q, command %q, ports %v", c.WorkingDir, c.Cmd, c.ExposedPorts)
	}
}

// TestRefusals lists Dockerfiles that mean something this package cannot make: each must be refused, and
// with the line it is on.
func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"":                                           "no FROM",
		"RUN x":                                      "no FROM",
		"FROM debian\nUSER 1":                        "line 1",
		"FROM scratch\nFROM debian":                  "line 2",
		"FROM scratch\n\nRUN x":                      "line 3: RUN",
		"FROM scratch\nADD a /a":                     "line 2: ADD",
		"FROM scratch\nHEALTHCHECK NONE":             "line 2: HEALTHCHECK",
		"FROM scratch\nVOLUME /data":                 "line 2: VOLUME",
		"FROM scratch\nENTRYPOINT /raftsman":         "line 2: ENTRYPOINT",
		"FROM scratch\nENTRYPOINT []":                "line 2: ENTRYPOINT",
		"FROM scratch\nCMD run":                      "line 2: CMD",
		"FROM scratch\nUSER $U":                      "line 2: USER: variables",
		"FROM scratch\nUSER a b":                     "line 2: USER",
		"FROM scratch\nUSER":                         "line 2: USER",
		"FROM scratch\nEXPOSE http":                  "line 2: EXPOSE",
		"FROM scratch\nEXPOSE 1-5":                   "line 2: EXPOSE",
		"FROM scratch\nEXPOSE 80/icmp":               "line 2: EXPOSE",
		"FROM scratch\nEXPOSE 0":                     "line 2: EXPOSE",
		"FROM scratch\nCOPY a":                       "line 2: COPY",
		"FROM scratch\nCOPY a b /c":                  "line 2: COPY",
		"FROM scratch\nCOPY --chmod=755 a /a":        "line 2: COPY",
		"FROM scratch\nCOPY <<EOF /a":                "line 2: COPY: here-documents",
		"FROM scratch\nENV A":                        "line 2: ENV",
		"FROM scratch\nLABEL a=\"b":                  "line 2: LABEL",
		"# escape=`\nFROM scratch":                   "line 1",
		"FROM scratch\nUSER 1\nUSE\\\nR 2\nEXPOSE 1": "line 3",
	} {
		_, err := ParseDockerfile(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want an error with %q", text, err, want)
		}
	}
}

func TestBinariesMustMatch(t *testing.T) {
	stage, err := ParseDockerfile(strings.NewReader("FROM x AS b\nFROM scratch\nCOPY --from=b /a /b /bin/\nCOPY ../secret /c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, binaries := range [][]string{nil, {"f"}, {"/a=f"}, {"/a=f", "/b=g", "/c=h"}, {"/a=f", "/a=g", "/b=h"}, {"/a=f", "/b=g"}} {
		if spec, err := stage.Spec(t.TempDir(), binaries); err == nil { // the last fails for the file outside
			t.Errorf("binaries %q give %v", binaries, spec.Files)
		}
	}
}

func TestWhatCannotBeBuilt(t *testing.T) {
	dir := t.TempDir()
	f := file(t, dir, "f", "x", 0o644)
	for what, files := range map[string][]File{
		"a file that is not there": {{Path: "/a", Source: filepath.Join(dir, "none")}},
		"a directory":              {{Path: "/a", Source: dir}},
		"the same path twice":      {{Path: "/a", Source: f}, {Path: "/a", Source: f}},
		"a file under a file":      {{Path: "/a", Source: f}, {Path: "/a/b", Source: f}},
	} {
		if _, err := (Spec{Files: files}).Build(); err == nil {
			t.Errorf("an image with %s is built", what)
		}
	}
	img, err := Spec{Files: []File{{Path: "/a", Source: f}}}.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "out.tar"), "Not A Name", img); err == nil {
		t.Error("an image is written under a name that is none")
	}
	again, err := Spec{Files: []File{{Path: "/a", Source: f}}}.Build()
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := img.Digest()
	two, err2 := again.Digest()
	if err1 != nil || err2 != nil || one != two {
		t.Errorf("the same input gives %s and %s (%v, %v)", one, two, err1, err2)
	}
}
