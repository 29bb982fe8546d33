//! Reading from folders and files: what is found, in which order, and what becomes of bad input.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod whole;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use provost_manifests::{
    Class, Exclude, Loaded, Node, Options, ProblemKind, Why, load, read_bytes,
};
use serde::Deserialize as _;

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn scan(folder: &Path) -> Loaded {
    load(&Options { paths: vec![folder.to_owned()], ..Options::default() })
}

fn scan_in(folder: &Path, namespace: &str) -> Loaded {
    let namespace = Some(namespace.to_owned());
    load(&Options { paths: vec![folder.to_owned()], namespace, ..Options::default() })
}

/// `file:line kind namespace/name`, or why not.
fn lines(folder: &Path, loaded: &Loaded) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    loaded
        .documents
        .iter()
        .map(|document| {
            let file = document.file.trim_start_matches(&prefix);
            let what = match &document.class {
                Class::Resource(resource) => resource.subject().to_string(),
                Class::NotEvaluated { why } => format!("({})", why.code()),
            };
            format!("{file}:{} {what}", document.at.line)
        })
        .collect()
}

fn problems(folder: &Path, loaded: &Loaded) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    loaded
        .problems
        .iter()
        .map(|problem| {
            format!("{} [{}]", problem.to_string().replace(&prefix, ""), problem.kind.code())
        })
        .collect()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";

#[test]
fn folders_are_walked_in_order_and_only_manifests_count() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in [
        "b/z.yml",
        "b/a.YAML",
        "a.yaml",
        "c.json",
        "notes.txt",
        ".hidden/x.yaml",
        ".x.yaml",
        "vendor/x.yaml",
    ] {
        let text = if name.ends_with("json") {
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"}}"#
        } else {
            POD
        };
        write(root, name, text);
    }
    std::os::unix::fs::symlink(root, root.join("b/loop")).unwrap();
    std::os::unix::fs::symlink(root.join("a.yaml"), root.join("again.yaml")).unwrap();
    std::os::unix::fs::symlink(root.join("gone"), root.join("dangling.yaml")).unwrap();
    let options = Options {
        paths: vec![
            root.to_owned(),
            root.join("a.yaml"),
            root.join("notes.txt"),
            root.join("missing"),
        ],
        exclude: vec![Exclude::new(root, &["./vendor/", "b/skipped/*.yaml"]).unwrap()],
        ..Options::default()
    };
    let loaded = load(&options);
    let expected = ["a.yaml", "b/a.YAML", "b/z.yml", "c.json", "notes.txt"];
    let files: Vec<_> = lines(root, &loaded)
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(files, expected);
    assert_eq!(loaded.files, 5);
    assert_eq!(
        problems(root, &loaded),
        [
            "dangling.yaml: no such file or folder [missing]",
            "missing: no such file or folder [missing]"
        ]
    );
    assert!(Exclude::new(root, &["a["]).unwrap_err().to_string().contains("`a[`"));
}

#[test]
fn one_bad_document_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "m.yaml", format!("{POD}---\na: [\n---\n# nothing\n---\na: 1\na: 2\n...\n{POD}"));
    let loaded = scan(root);
    assert_eq!(lines(root, &loaded), ["m.yaml:1 Pod web", "m.yaml:12 Pod web"]);
    assert_eq!(loaded.documents.iter().map(|document| document.index).collect::<Vec<_>>(), [0, 1]);
    let problems = problems(root, &loaded);
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].starts_with("m.yaml:") && problems[0].ends_with("[syntax]"),
        "{problems:?}"
    );
    assert!(
        problems[1].starts_with("m.yaml:10:1: ") && problems[1].ends_with("[duplicate-key]"),
        "{problems:?}"
    );
}

#[test]
fn bad_input_of_each_kind_is_a_problem_and_says_where() {
    let long = format!("{POD}# {}\n", "x".repeat(5_000_000));
    let bomb = {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in "bcdefgh".chars().zip("abcdefg".chars()) {
            text.push_str(&format!(
                "{name}: &{name} [{}]\n",
                vec![format!("*{of}"); 10].join(", ")
            ));
        }
        text
    };
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("long.yaml", long.into_bytes(), &[]),
        ("empty.yaml", vec![], &[]),
        ("comments.yaml", b"# one\n---\n# two\n---\n".to_vec(), &[]),
        ("bom.yaml", [b"\xef\xbb\xbf", POD.as_bytes()].concat(), &[]),
        ("crlf.yaml", POD.replace('\n', "\r\n").into_bytes(), &[]),
        ("bomb.yaml", bomb.into_bytes(), &["limit"]),
        ("latin1.yaml", b"a: 1\nname: caf\xe9\n".to_vec(), &["2:10: is not UTF-8 [not-utf8]"]),
        ("utf16.yaml", b"\xff\xfea\0:\0".to_vec(), &["utf16.yaml: is UTF-16 [not-utf8]"]),
        (
            "binary.yaml",
            b"\x7fELF\x02\x01\0\0".to_vec(),
            &["1:1: control character U+007F [syntax]"],
        ),
        ("tabs.yaml", b"a:\n\tb: 1\n".to_vec(), &["[syntax]"]),
        ("dup.json", br#"{"a": 1, "a": 2}"#.to_vec(), &["1:10: ", "[duplicate-key]"]),
        (
            "noname.yaml",
            b"apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}\n".to_vec(),
            &["3:1: Pod has no `metadata.name` [invalid]"],
        ),
        (
            "nometa.yaml",
            b"apiVersion: v1\nkind: Pod\n".to_vec(),
            &["1:1: Pod has no `metadata.name` [invalid]"],
        ),
        (
            "number.yaml",
            b"apiVersion: v1\nkind: Pod\nmetadata: {name: 12}\n".to_vec(),
            &["3:18: `metadata.name` is a number"],
        ),
        (
            "meta.yaml",
            b"apiVersion: v1\nkind: Pod\nmetadata: [a]\n".to_vec(),
            &["3:11: `metadata` is a list"],
        ),
        (
            "kind.yaml",
            b"apiVersion: v1\nkind: [Pod]\nmetadata: {name: a}\n".to_vec(),
            &["2:7: `kind` is a list"],
        ),
        ("prose.yaml", b"not: a: mapping\n".to_vec(), &["[syntax]"]),
    ];
    for (name, content, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, content);
        let loaded = scan(folder.path());
        let problems = problems(folder.path(), &loaded);
        assert_eq!(problems.len(), usize::from(!expected.is_empty()), "{name}: {problems:?}");
        for part in *expected {
            assert!(problems[0].contains(part), "{name}: {problems:?}");
        }
        assert!(loaded.problems.iter().all(|problem| !problem.hint().is_empty()));
        let reads_pod = ["long.yaml", "bom.yaml", "crlf.yaml"].contains(name);
        assert_eq!(loaded.documents.len(), usize::from(reads_pod), "{name}");
    }
}

#[test]
fn names_with_control_characters_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let namespace = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: \"a\\0b\"}\n";
    write(folder.path(), "namespace.yaml", namespace);
    let kind = r#"{"apiVersion": "v1", "kind": "Po\u0007d", "metadata": {"name": "a"}}"#;
    write(folder.path(), "kind.json", kind);
    let loaded = scan(folder.path());
    assert!(loaded.documents.is_empty(), "{:?}", loaded.documents);
    assert_eq!(
        problems(folder.path(), &loaded),
        [
            "kind.json:1:30: `kind` has a control character in it [invalid]",
            "namespace.yaml:3:32: `metadata.namespace` has a control character in it [invalid]",
        ]
    );
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("huge.yaml")).unwrap();
    file.set_len(provost_manifests::limits::MAX_FILE_BYTES + 1).unwrap();
    let loaded = scan(folder.path());
    assert_eq!(loaded.problems[0].kind, ProblemKind::Limit);
    assert!(loaded.problems[0].message.contains("64 MiB"));
}

#[test]
fn lists_become_their_items_each_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        "l.yaml",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n- apiVersion: v1\n  kind: Pod\n  metadata: {}\n- 7\n---\napiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: c}\n---\napiVersion: v1\nkind: List\nitems: []\n---\napiVersion: v1\nkind: List\nitems: {a: b}\n",
    );
    let loaded = scan(root);
    assert_eq!(
        lines(root, &loaded),
        ["l.yaml:4 Pod a", "l.yaml:10 Pod b", "l.yaml:14 (no-kind)", "l.yaml:19 Deployment.apps c"]
    );
    let items: Vec<_> =
        loaded.documents.iter().map(|document| (document.index, document.item)).collect();
    assert_eq!(items, [(0, Some(0)), (0, Some(2)), (0, Some(4)), (1, Some(0))]);
    assert_eq!(
        problems(root, &loaded),
        [
            "l.yaml:13:3: Pod has no `metadata.name` [invalid]",
            "l.yaml:27:8: `items` is a mapping, not a list [invalid]"
        ]
    );
}

#[test]
fn what_is_no_object_is_said_to_be_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "chart/Chart.yaml", "apiVersion: v2\nname: x\n");
    write(root, "chart/values.yaml", "replicas: 1\n");
    write(root, "chart/templates/a.yaml", "kind: \"{{ .Values.kind }}\"\n");
    write(root, "chart/templates/plain.yaml", POD);
    write(root, "workflow/templates/argo.yaml", POD.replace("web", "'{{inputs.parameters.name}}'"));
    write(root, "workflow/templates/helm.yaml", POD.replace("web", "'{{ .Values.name }}'"));
    write(root, "gen.yaml", format!("{{{{- if .x }}}}\na: 1\n---\nb: '{{{{ .y }}}}'\n---\n{POD}"));
    write(
        root,
        "alerts.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: alerts}\ndata:\n  a: 'pod {{ $labels.pod }}'\n",
    );
    write(root, "broken-alerts.yaml", "a: \"pod {{ $labels.pod }}\n");
    write(root, "kubeadm.yaml", "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n");
    write(
        root,
        "generated.yaml",
        "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: run-}\n",
    );
    write(root, "ops.yaml", "- {op: add, path: /a, value: 1}\n");
    let loaded = scan(root);
    assert_eq!(
        lines(root, &loaded),
        [
            "alerts.yaml:1 ConfigMap alerts",
            "chart/Chart.yaml:1 (no-kind)",
            "chart/templates/a.yaml:1 (template)",
            "chart/templates/plain.yaml:1 Pod web",
            "chart/values.yaml:1 (no-kind)",
            "gen.yaml:1 (template)",
            "gen.yaml:3 (template)",
            "gen.yaml:6 Pod web",
            "generated.yaml:1 Job.batch run-",
            "kubeadm.yaml:1 (not-an-object)",
            "ops.yaml:1 (patch)",
            "workflow/templates/argo.yaml:1 Pod {{inputs.parameters.name}}",
            "workflow/templates/helm.yaml:1 (template)",
        ]
    );
    let problems = problems(root, &loaded);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("broken-alerts.yaml:"), "{problems:?}");
}

#[test]
fn kustomizations_say_what_the_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let kustomization = "resources: [web.yaml, ../lib]\npatches:\n- path: patch.yaml\n- {patch: '- op: add', target: {kind: Pod}}\ntransformers: [labels.yaml]\nconfigMapGenerator:\n- {name: c, files: [settings=config.yaml]}\npatchesStrategicMerge: ['a: 1']\n";
    write(root, "app/kustomization.yaml", kustomization);
    write(root, "app/web.yaml", POD);
    write(root, "app/patch.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {}\n");
    write(
        root,
        "app/labels.yaml",
        "apiVersion: builtin\nkind: LabelTransformer\nmetadata: {name: l}\n",
    );
    write(root, "app/config.yaml", "verbose: yes\n");
    write(root, "app/alone.yaml", POD);
    write(
        root,
        "flux/kustomization.yaml",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: f}\n",
    );
    let loaded = scan(root);
    assert_eq!(
        lines(root, &loaded),
        [
            "app/alone.yaml:1 Pod web",
            "app/config.yaml:1 (kustomize-config)",
            "app/kustomization.yaml:1 (kustomization)",
            "app/labels.yaml:1 (kustomize-config)",
            "app/patch.yaml:3 (patch)",
            "app/web.yaml:1 Pod web",
            "flux/kustomization.yaml:1 Kustomization.kustomize.toolkit.fluxcd.io f",
        ]
    );
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let marked: Vec<_> =
        loaded.documents.iter().map(|document| document.unrendered.is_some()).collect();
    assert_eq!(marked, [false, false, false, false, false, true, false]);

    let alone = load(&Options { paths: vec![root.join("app/patch.yaml")], ..Options::default() });
    assert_eq!(
        alone.documents[0].class,
        Class::NotEvaluated { why: Why::Patch },
        "the kustomization beside it is asked"
    );
}

#[test]
fn a_namespace_fills_what_is_missing_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        "a.yaml",
        format!(
            "{POD}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: written, namespace: own}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: prod, namespace: odd}}\n---\napiVersion: x.io/v1\nkind: Wide\nmetadata: {{name: w}}\n---\napiVersion: x.io/v1\nkind: Narrow\nmetadata: {{name: w, namespace: ''}}\n"
        ),
    );
    write(
        root,
        "crd.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: wides.x.io}\nspec: {group: x.io, scope: Cluster, names: {kind: Wide}}\n",
    );
    let loaded = scan_in(root, "shop");
    assert_eq!(
        lines(root, &loaded),
        [
            "a.yaml:1 Pod shop/web",
            "a.yaml:5 Pod own/written",
            "a.yaml:9 Namespace prod",
            "a.yaml:13 Wide.x.io w",
            "a.yaml:17 Narrow.x.io shop/w",
            "crd.yaml:1 CustomResourceDefinition.apiextensions.k8s.io wides.x.io",
        ]
    );
    let namespace_in = |place: usize| {
        let metadata = loaded.documents[place].node.get("metadata").unwrap();
        metadata.get("namespace").and_then(Node::as_str).map(str::to_owned)
    };
    assert_eq!(namespace_in(0).as_deref(), Some("shop"), "the input is filled too");
    assert_eq!(namespace_in(1).as_deref(), Some("own"));
    assert_eq!(namespace_in(3), None);
    assert_eq!(namespace_in(4).as_deref(), Some("shop"));
    assert_eq!(lines(root, &scan(root))[0], "a.yaml:1 Pod web", "unfilled stays empty");
}

#[test]
fn objects_deserialize_from_the_tree() {
    #[derive(serde::Deserialize)]
    struct Pod {
        kind: String,
        spec: Spec,
    }
    #[derive(serde::Deserialize)]
    struct Spec {
        replicas: u32,
        paused: Option<bool>,
        note: Option<String>,
        ratio: f64,
        policy: Policy,
    }
    #[derive(serde::Deserialize, PartialEq, Debug)]
    enum Policy {
        Always,
    }
    let text = "kind: Pod\nspec: {replicas: 0o3, paused: yes, note: ~, ratio: 1, policy: Always}\n";
    let content = read_bytes(&Arc::from("x"), None, text.as_bytes().to_vec());
    let pod = Pod::deserialize(&content.documents[0].node).unwrap();
    assert_eq!((pod.kind.as_str(), pod.spec.replicas, pod.spec.paused), ("Pod", 3, Some(true)));
    assert_eq!((pod.spec.note, pod.spec.ratio, pod.spec.policy), (None, 1.0, Policy::Always));
    assert!(u8::deserialize(&content.documents[0].node).is_err());
}

proptest! {
    /// Whatever a file holds, reading ends and says something of it.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), json: bool) {
        let name: Arc<str> = Arc::from(if json { "x.json" } else { "x.yaml" });
        let content = read_bytes(&name, None, bytes);
        for problem in content.problems {
            prop_assert!(!problem.message.is_empty());
        }
    }

    #[test]
    fn any_manifest_like_text_is_read_or_refused(
        text in "((apiVersion|kind|metadata|items|name|<<|a): ?|- |  |\\{|\\}|\\[|\\]|v1|List|Pod|&a|\\*a|\n|---\n|\\{\\{|\"|\t){0,60}"
    ) {
        let _ = read_bytes(&Arc::from("x.yaml"), None, text.into_bytes());
    }
}
