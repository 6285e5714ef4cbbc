{# Filled in by nireports, which escapes nothing: every piece comes escaped from parts of ours. #}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="fmmtc_bidsapp">
{{ header | join("\n") }}
</head>
<body>
{{ navbar | join("\n") }}
<main>
{% for section in sections %}
{% if section.isnested %}
{% for reportlet in section.reportlets %}
{# Only the first piece of a run has a title. #}
{% if reportlet.title %}
{% if not loop.first %}
</section>
{% endif %}
<section class="run">
{% endif %}
{% if reportlet.subtitle %}
<h3>{{ reportlet.subtitle }}</h3>
{% endif %}
{{ reportlet.components[0][0] }}
{% if loop.last %}
</section>
{% endif %}
{% endfor %}
{% else %}
<section id="{{ section.name | lower }}">
<h2>{{ section.name }}</h2>
{{ section.reportlets[0].components[0][0] }}
</section>
{% endif %}
{% endfor %}
</main>
{{ footer | join("\n") }}
</body>
</html>
