package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"sigs.k8s.io/yaml"
)

// examples holds every policy of a tree to its own examples, in OPA: each
// document of examples/fail violates, none of examples/pass does, every finding
// has the right shape, and every patch takes its finding away and adds none.
func examples(args arguments) error {
	failures, documents, patches := []string{}, 0, 0
	for _, root := range args.paths {
		policies, err := readPolicies(root)
		if err != nil {
			return err
		}
		for _, p := range policies {
			for _, want := range []string{"pass", "fail"} {
				files, _ := filepath.Glob(filepath.Join(filepath.Dir(p.path), "examples", want, "*.yaml"))
				files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, ".input.yaml") })
				if len(files) == 0 {
					failures = append(failures, fmt.Sprintf("%s: no %s example", p.path, want))
				}
				for _, file := range files {
					report, err := p.example(file, want == "fail")
					if err != nil {
						return fmt.Errorf("%s: %w", file, err)
					}
					documents += report.documents
					patches += report.patches
					failures = append(failures, report.failures...)
				}
			}
		}
		fmt.Printf("%d policies, %d documents, %d patches\n", len(policies), documents, patches)
	}
	for _, failure := range failures {
		fmt.Println(failure)
	}
	if len(failures) > 0 {
		return fmt.Errorf("%d failures", len(failures))
	}
	return nil
}

type policy struct {
	path       string
	query      rego.PreparedEvalQuery
	patch      rego.PreparedEvalQuery
	parameters map[string]any
	kinds      []kindSelector
}

type kindSelector struct {
	Group string   `json:"group"`
	Kinds []string `json:"kinds"`
}

// metadata is the part of `custom` that an evaluation needs.
type metadata struct {
	Kinds      []kindSelector `json:"kinds"`
	Parameters map[string]struct {
		Default any `json:"default"`
	} `json:"parameters"`
}

func readPolicies(root string) ([]*policy, error) {
	libraries := map[string]string{}
	paths := []string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case entry.Name() == "policy.rego":
			paths = append(paths, path)
		case filepath.Base(filepath.Dir(path)) == "lib" && strings.HasSuffix(path, ".rego") &&
			!strings.HasSuffix(path, "_test.rego"):
			text, err := os.ReadFile(path)
			libraries[path] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, errors.New("no policy.rego was found")
	}
	policies := []*policy{}
	for _, path := range paths {
		p, err := readPolicy(path, libraries)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		policies = append(policies, p)
	}
	return policies, nil
}

func readPolicy(path string, libraries map[string]string) (*policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	options := ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true}
	module, err := ast.ParseModuleWithOpts(path, string(text), options)
	if err != nil {
		return nil, err
	}
	if len(module.Annotations) == 0 {
		return nil, errors.New("no METADATA")
	}
	custom, err := json.Marshal(module.Annotations[0].Custom)
	if err != nil {
		return nil, err
	}
	var meta metadata
	if err := json.Unmarshal(custom, &meta); err != nil {
		return nil, fmt.Errorf("METADATA: %w", err)
	}
	p := &policy{path: path, kinds: meta.Kinds, parameters: map[string]any{}}
	for name, parameter := range meta.Parameters {
		p.parameters[name] = parameter.Default
	}
	modules := map[string]string{path: string(text)}
	for library, text := range libraries {
		modules[library] = text
	}
	compiler, err := ast.CompileModulesWithOpt(modules, ast.CompileOpts{ParserOptions: options})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	query := module.Package.Path.String() + ".violation"
	if p.query, err = rego.New(rego.Query(query), rego.Compiler(compiler)).PrepareForEval(ctx); err != nil {
		return nil, err
	}
	p.patch, err = rego.New(rego.Query("json.patch(input.object, input.patch)")).PrepareForEval(ctx)
	return p, err
}

type report struct {
	documents, patches int
	failures           []string
}

func (p *policy) example(file string, violates bool) (report, error) {
	var out report
	extra := map[string]any{}
	beside := strings.TrimSuffix(file, ".yaml") + ".input.yaml"
	if text, err := os.ReadFile(beside); err == nil {
		if err := yaml.UnmarshalStrict(text, &extra); err != nil {
			return out, fmt.Errorf("%s: %w", beside, err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return out, err
	}
	for index, part := range strings.Split("\n"+string(text), "\n---") {
		fail := func(format string, arguments ...any) {
			place := fmt.Sprintf("%s: document %d: ", file, index)
			out.failures = append(out.failures, place+fmt.Sprintf(format, arguments...))
		}
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(part), &object); err != nil {
			return out, fmt.Errorf("document %d: %w", index, err)
		}
		if object == nil {
			fail("is empty")
			continue
		}
		out.documents++
		if !p.matches(object) {
			fail("the policy does not match %v", object["kind"])
		}
		findings, err := p.evaluate(object, extra)
		if err != nil {
			return out, err
		}
		if violates != (len(findings) > 0) {
			fail("%d findings: %v", len(findings), findings)
		}
		for _, finding := range findings {
			if problem := shape(finding); problem != "" {
				fail("%s: %v", problem, finding)
				continue
			}
			if finding["patch"] != nil {
				out.patches++
				if problem := p.repairs(object, extra, finding, findings); problem != "" {
					fail("patch: %s: %v", problem, finding)
				}
			}
		}
	}
	return out, nil
}

func (p *policy) matches(object map[string]any) bool {
	group, _ := groupVersion(object)
	return slices.ContainsFunc(p.kinds, func(selector kindSelector) bool {
		kind, _ := object["kind"].(string)
		return selector.Group == group && slices.Contains(selector.Kinds, kind)
	})
}

func groupVersion(object map[string]any) (string, string) {
	written, _ := object["apiVersion"].(string)
	if group, version, found := strings.Cut(written, "/"); found {
		return group, version
	}
	return "", written
}

// evaluate builds the input as the engine does.
func (p *policy) evaluate(object, extra map[string]any) ([]map[string]any, error) {
	group, version := groupVersion(object)
	meta, _ := object["metadata"].(map[string]any)
	parameters := map[string]any{}
	for name, value := range p.parameters {
		parameters[name] = value
	}
	if given, ok := extra["parameters"].(map[string]any); ok {
		for name, value := range given {
			parameters[name] = value
		}
	}
	namespace, _ := meta["namespace"].(string)
	input := map[string]any{
		"review": map[string]any{
			"object":    object,
			"kind":      map[string]any{"group": group, "version": version, "kind": object["kind"]},
			"name":      meta["name"],
			"namespace": namespace,
		},
		"parameters": parameters,
	}
	if cluster, given := extra["cluster"]; given {
		input["cluster"] = cluster
	}
	results, err := p.query.Eval(context.Background(), rego.EvalInput(input))
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, errors.New("violation is undefined")
	}
	text, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return nil, err
	}
	var findings []map[string]any
	return findings, json.Unmarshal(text, &findings)
}

// shape says what is wrong with a finding; empty if nothing is.
func shape(finding map[string]any) string {
	for key := range finding {
		if key != "msg" && key != "path" && key != "patch" {
			return "unknown key " + key
		}
	}
	if text, ok := finding["msg"].(string); !ok || text == "" {
		return "msg is not a text"
	}
	path, ok := finding["path"].([]any)
	if !ok || len(path) == 0 {
		return "path is not a list"
	}
	for _, step := range path {
		switch step.(type) {
		case string, float64:
		default:
			return "path holds something else than texts and numbers"
		}
	}
	return ""
}

// repairs says what is wrong with a finding's patch: it must apply, take this
// finding away, and bring no other.
func (p *policy) repairs(object, extra, finding map[string]any, before []map[string]any) string {
	input := rego.EvalInput(map[string]any{"object": object, "patch": finding["patch"]})
	results, err := p.patch.Eval(context.Background(), input)
	if err != nil {
		return err.Error()
	}
	if len(results) == 0 {
		return "it does not apply"
	}
	repaired, ok := results[0].Expressions[0].Value.(map[string]any)
	if !ok {
		return "it leaves no object"
	}
	after, err := p.evaluate(repaired, extra)
	if err != nil {
		return err.Error()
	}
	if len(after) != len(before)-1 {
		return fmt.Sprintf("%d findings before, %d after", len(before), len(after))
	}
	for _, left := range after {
		if fmt.Sprint(left["path"], left["msg"]) == fmt.Sprint(finding["path"], finding["msg"]) {
			return "the finding is still there"
		}
	}
	return ""
}
