"""What `import slicecache as sc` offers of stage two: a store to look at, studies, estimators."""
