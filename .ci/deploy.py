"""Holds deploy/compose.yaml and deploy/kubernetes/ against the schemas of their kind, and against the files they name."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jsonschema
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy"
# Files that whoever uses deploy/ writes; the example is what they start from.
OWN = {"config.toml": DEPLOY / "config.example.toml"}
wrong = []


def must(holds, said):
    if not holds:
        wrong.append(said)


def compose(path):
    file = yaml.safe_load(path.read_text())
    # Not imported: the program around the schema is old, and needs what is not installed.
    site = pathlib.Path(yaml.__file__).parent.parent
    schema = json.loads((site / "compose/config/compose_spec.json").read_text())
    for error in jsonschema.Draft7Validator(schema).iter_errors(file):
        wrong.append(f"{path}: {error.json_path}: {error.message}")
    for name, service in file["services"].items():
        built, image = service.get("build"), service.get("image", "")
        must(bool(built) != bool(image), f"{path}: {name} is built, or has an image")
        if image:
            must(":" in image and not image.endswith(":latest"), f"{path}: {image} is of no version")
        if built:
            context = path.parent / built["context"]
            must((context / built["dockerfile"]).is_file(), f"{path}: there is no {built['dockerfile']}")
        for other in service.get("depends_on", []):
            must(other in file["services"], f"{path}: there is no service {other}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                there = OWN.get(pathlib.Path(source).name, path.parent / source)
                must(there.is_file(), f"{path}: there is no {source}")
            else:
                must(source in file["volumes"], f"{path}: there is no volume {source}")


KUSTOMIZATION = {
    "apiVersion", "kind", "namespace", "resources", "configMapGenerator", "secretGenerator", "images",
}


def kustomization(path):
    file = yaml.safe_load(path.read_text())
    must(file["apiVersion"] == "kustomize.config.k8s.io/v1beta1", f"{path}: another version")
    must(not file.keys() - KUSTOMIZATION, f"{path}: {file.keys() - KUSTOMIZATION} is not known here")
    resources = []
    for name in file["resources"]:
        must((path.parent / name).is_file(), f"{path}: there is no {name}")
        if (path.parent / name).is_file():
            resources += yaml.safe_load_all((path.parent / name).read_text())
    others = {it.name for it in path.parent.glob("*.yaml")} - {path.name} - set(file["resources"])
    must(not others, f"{path}: {others} is in the folder, and not in the list")
    texts = json.dumps(resources)
    namespaces = [it["metadata"]["name"] for it in resources if it["kind"] == "Namespace"]
    must(namespaces == [file["namespace"]], f"{path}: the namespace is not {file['namespace']}")
    for image in file["images"]:
        must(f'"image": "{image["name"]}"' in texts, f"{path}: nothing uses the image {image['name']}")
    for kind, generated in [("configMap", "configMapGenerator"), ("secretRef", "secretGenerator")]:
        for it in file[generated]:
            must(f'"{kind}": {{"name": "{it["name"]}"' in texts, f"{path}: nothing uses the {kind} {it['name']}")
            for name in it.get("files", []):
                there = OWN.get(name, path.parent / name)
                must(there.is_file(), f"{path}: there is no {name}")


def kubectl(path):
    """What kubectl makes of the folder, where there is one."""
    if not shutil.which("kubectl"):
        return
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(DEPLOY, copy, dirs_exist_ok=True)
        folder = pathlib.Path(copy, path.relative_to(DEPLOY))
        shutil.copy(OWN["config.toml"], folder / "config.toml")
        (folder / "callwatch.env").write_text("CALLEM_API_KEY=x\nCALLWATCH_TOKEN=x\n")
        made = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
        must(made.returncode == 0, f"{path}: {made.stderr}")
        kinds = {it["kind"] for it in yaml.safe_load_all(made.stdout)}
        must({"ConfigMap", "Namespace", "Secret", "Service"} <= kinds, f"{path}: only {kinds} is made")


compose(DEPLOY / "compose.yaml")
for folder in ["kubernetes", "kubernetes/cluster"]:
    kustomization(DEPLOY / folder / "kustomization.yaml")
    kubectl(DEPLOY / folder)
sys.exit("\n".join(wrong) or 0)
