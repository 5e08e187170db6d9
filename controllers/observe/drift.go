package observe

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/resource"
)

// outdated names the objects that are absent, were applied from another spec, or have been changed by
// somebody else since.
func (o Observer) outdated(ctx context.Context, s *Sight, sizes resource.Sizes) error {
	objects, err := resource.All(s.Cluster, o.Defaults, sizes)
	if err != nil {
		return err
	}
	for _, want := range objects {
		kind := want.GetObjectKind().GroupVersionKind().Kind
		have := reflect.New(reflect.TypeOf(want).Elem()).Interface().(client.Object)
		// What was absent when the sizes were read is absent: it must not be judged by sizes that it does not have.
		absent := kind == "StatefulSet" && s.Seen.Set == nil || kind == "PodDisruptionBudget" && s.Seen.Guard == nil
		if absent {
			s.Seen.Outdated = append(s.Seen.Outdated, fmt.Sprintf("%s %s (absent)", kind, want.GetName()))
			continue
		}
		err := o.Objects.Get(ctx, client.ObjectKeyFromObject(want), have)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("read %s %s: %w", kind, client.ObjectKeyFromObject(want), err)
		}
		where := "absent"
		switch {
		case err == nil && have.GetAnnotations()[api.AnnotationApplied] != want.GetAnnotations()[api.AnnotationApplied]:
			where = "made from another spec"
		case err == nil:
			if where, err = differs(have, want); err != nil {
				return fmt.Errorf("compare %s %s: %w", kind, client.ObjectKeyFromObject(want), err)
			}
		}
		if where != "" {
			s.Seen.Outdated = append(s.Seen.Outdated, fmt.Sprintf("%s %s (%s)", kind, want.GetName(), where))
		}
	}
	return nil
}

// differs is the first field in which an object lacks what is wanted of it, empty for none; what others have
// added does not count.
func differs(have, want client.Object) (string, error) {
	h, err := runtime.DefaultUnstructuredConverter.ToUnstructured(have)
	if err != nil {
		return "", err
	}
	w, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return "", err
	}
	delete(w, "status")
	// The cache leaves out what every object of a kind has in common.
	delete(w, "apiVersion")
	delete(w, "kind")
	return lacks(h, w, ""), nil
}

// lacks is the path of the first thing wanted that is not there: maps by key, lists of named things by name,
// other lists in order.
func lacks(have, want any, path string) string {
	switch w := want.(type) {
	case nil:
		return ""
	case map[string]any:
		h, _ := have.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(w)) {
			if at := lacks(h[key], w[key], path+"."+key); at != "" {
				return at
			}
		}
		return ""
	case []any:
		h, _ := have.([]any)
		return listLacks(h, w, path)
	}
	if !reflect.DeepEqual(have, want) {
		return strings.TrimPrefix(path, ".")
	}
	return ""
}

func listLacks(have, want []any, path string) string {
	for i, w := range want {
		if name, ok := nameOf(w); ok {
			i = slices.IndexFunc(have, func(h any) bool { n, ok := nameOf(h); return ok && n == name })
		} else if len(have) != len(want) {
			i = -1
		}
		if i < 0 {
			return strings.TrimPrefix(path, ".")
		}
		if at := lacks(have[i], w, fmt.Sprintf("%s[%d]", path, i)); at != "" {
			return at
		}
	}
	return ""
}

func nameOf(v any) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	name, ok := m["name"].(string)
	return name, ok
}
