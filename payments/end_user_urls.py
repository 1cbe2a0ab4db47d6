"""Paths for one audience."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
