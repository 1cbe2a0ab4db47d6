"""The documentation's paths: the OpenAPI document in two formats, and Swagger UI from our own files."""

from django.urls import path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView, SpectacularYAMLAPIView

urlpatterns = [
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi-json"),
    path("openapi.yaml", SpectacularYAMLAPIView.as_view(), name="openapi-yaml"),
    # The script is answered by the same path with ?script=, so that the page holds no inline script.
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="openapi-json"), name="docs"),
    path("docs/", RedirectView.as_view(pattern_name="docs")),
]
